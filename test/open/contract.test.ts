import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import type { RuleTable } from "../../src/findings/rule.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { allRules, layoutSections, ruleSections } from "../../src/open/catalogue.js";
import { FORMATS } from "../../src/open/formats.js";
import { verify } from "../../src/open/open.js";
import { OUTPUTS } from "../../src/open/outputs.js";
import { layoutMismatch, STATED_SIZES } from "../../src/open/stated-sizes.js";
import { verifyAs } from "../verify-as.js";
import { projectRoot } from "../shared.js";

const src = path.join(projectRoot, "src");
const page = (name: string): string => fs.readFileSync(path.join(projectRoot, "docs", name), "utf8");
const declarations = (ending: string): string[] =>
  fs
    .readdirSync(src, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(ending))
    .map((file) => path.join(src, file));

describe("rules", () => {
  it("have codes of their own, and say something", async () => {
    const rules = await allRules();
    const codes = rules.map(({ code }) => code);
    expect(codes.filter((code, i) => codes.indexOf(code) !== i)).toEqual([]);
    expect(rules.filter(({ spec, explanation }) => spec === "" || explanation.length < 20)).toEqual([]);
  });

  it("of every rules.ts are in the catalogue, and on the findings page", async () => {
    const known = new Set((await allRules()).map(({ code }) => code));
    const documented = page("findings.md");
    const files = declarations(`${path.sep}rules.ts`);
    expect(files.length).toBeGreaterThan(10);
    const missing: string[] = [];
    for (const file of files) {
      const tables = Object.values((await import(file)) as Record<string, RuleTable>);
      for (const { code } of tables.flatMap((table) => Object.values(table)))
        if (!known.has(code) || !documented.includes(`### \`${code}\``)) missing.push(`${file}: ${code}`);
    }
    expect(missing).toEqual([]);
  });

  it("are in tables of rules.ts files: no code is written anywhere else", () => {
    const strays = declarations(".ts")
      .filter((file) => !file.endsWith(`${path.sep}rules.ts`))
      .filter((file) => /\bcode: "[a-z-]+\/|rules\(\{/.test(fs.readFileSync(file, "utf8")));
    expect(strays.map((file) => path.relative(src, file))).toEqual([]);
  });

  it("have titled sections", async () => {
    const titles = (await ruleSections()).map(({ title }) => title);
    expect(new Set(titles).size).toBe(titles.length);
  });
});

describe("structures", () => {
  it("have the sizes that the specifications state", async () => {
    const all = (await layoutSections()).flatMap(({ layouts }) => layouts);
    expect(all.flatMap((layout) => layoutMismatch(layout) ?? [])).toEqual([]);
    const names = new Set(all.map(({ name }) => name));
    expect(Object.keys(STATED_SIZES).filter((name) => !names.has(name))).toEqual([]);
  });

  it("of every layout.ts are in the catalogue, and on the formats page", async () => {
    const known = new Set((await layoutSections()).flatMap(({ layouts }) => layouts.map(({ name }) => name)));
    const documented = page("formats.md");
    const missing: string[] = [];
    for (const file of declarations(`${path.sep}layout.ts`)) {
      const values: unknown[] = Object.values((await import(file)) as object);
      for (const value of values) {
        if (typeof value !== "object" || value === null || !("fields" in value) || !("name" in value))
          continue;
        const name = String(value.name);
        if (!known.has(name) || !documented.includes(`### ${name}\n`)) missing.push(`${file}: ${name}`);
      }
    }
    expect(missing).toEqual([]);
  });

  it("of a wrong size are noticed", async () => {
    const libxc = (await layoutSections()).find(({ name }) => name === "libxc");
    const [layout] = libxc?.layouts ?? [];
    if (layout === undefined) return expect.unreachable();
    expect(layoutMismatch({ ...layout, size: layout.size + 1 })).toMatch(/bytes/);
    expect(layoutMismatch({ ...layout, fields: layout.fields.slice(1) })).toMatch(/bytes/);
  });
});

const noise = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919 + (i >> 3)) & 0xff);

describe.each(FORMATS.map((format) => [format.id, format] as const))("format %s", (_, format) => {
  it("does not take an empty input, noise or a short head for its own", () => {
    expect(format.matches(new Uint8Array(0))).toBe(false);
    expect(format.matches(noise)).toBe(false);
    expect(format.matches(noise.subarray(0, 3))).toBe(false);
  });

  it("refuses empty and garbage input with a rule that explain knows", async () => {
    const known = new Set((await allRules()).map(({ code }) => code));
    for (const bytes of [new Uint8Array(0), noise]) {
      if (format.reader.verify !== undefined) {
        const { findings } = await verifyAs(format, bytesSource(bytes, "garbage"));
        expect(findings.filter(({ severity }) => severity === "error")).not.toEqual([]);
        expect(findings.filter(({ code }) => !known.has(code))).toEqual([]);
      }
      const opened = format.reader.openGuest(bytesSource(bytes, "garbage"), {});
      const error: unknown = await opened.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(known.has((error as { code: string }).code), String(error)).toBe(true);
    }
  });

  it("has a title, rules and layouts of its own", async () => {
    expect(format.title).not.toBe("");
    expect((await format.rules()).length + (await format.layouts()).length).toBeGreaterThan(0);
  });
});

it("input of no format is a finding with a rule", async () => {
  const { report, format } = await verify(bytesSource(noise, "garbage"));
  expect(format).toBeUndefined();
  expect(report.findings.map(({ code }) => code)).toEqual(["open/unknown"]);
});

describe("outputs", () => {
  it("have ids, titles and extensions of their own, and load", async () => {
    const extensions = OUTPUTS.flatMap((output) => output.extensions);
    expect(new Set(extensions).size).toBe(extensions.length);
    for (const output of OUTPUTS) {
      const writer = await output.load({});
      expect(writer.id).toBe(output.id);
      expect(writer.title).toBe(output.title);
    }
  });
});
