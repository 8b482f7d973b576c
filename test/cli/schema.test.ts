import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { schemas } from "../../scripts/generate-schema.js";
import { validDocument } from "../document-schema.js";
import { fixtures, projectRoot, runCli, scratch } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const shipped = path.join(projectRoot, "schema");

describe("the schemas in schema/", () => {
  it("are made from the types (npm run schema)", () => {
    const made = schemas();
    expect(fs.readdirSync(shipped).sort()).toEqual([...made.keys()].map((kind) => `${kind}.json`).sort());
    for (const [kind, schema] of made)
      expect(JSON.parse(fs.readFileSync(path.join(shipped, `${kind}.json`), "utf8"))).toEqual(
        JSON.parse(JSON.stringify(schema)),
      );
  });

  it("cover every kind of document in the sources", () => {
    const kinds = fs
      .readdirSync(path.join(projectRoot, "src/cli"), { encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => fs.readFileSync(path.join(projectRoot, "src/cli", name), "utf8"))
      .flatMap((text) =>
        Array.from(text.matchAll(/schemaVersion: \d+,\s*kind: "([\w-]+)"/g), ([, kind]) => kind),
      );
    expect(kinds.length).toBeGreaterThan(5);
    expect(kinds.filter((kind) => !fs.existsSync(path.join(shipped, `${kind}.json`)))).toEqual([]);
  });
});

const unpack = (name: string): string => {
  const file = path.join(folder, path.basename(name, ".gz"));
  fs.writeFileSync(file, zlib.gunzipSync(fs.readFileSync(path.join(fixtures, name))));
  return file;
};
const legacy = unpack("demo/web01.legacy.gz");
const save = path.join(folder, "web01.save");
const kinds = new Set<string>();

/** What a command prints fits the schema that it names. */
function check(...args: readonly string[]): void {
  const { stdout } = runCli([...args, "--json"]);
  kinds.add(validDocument(stdout, args.join(" ")).kind);
}

describe("the schemas of what Linux guests hold", () => {
  const names = fs.readdirSync(shipped).filter((name) => name.startsWith("linux-"));
  const texts = names.map((name) => fs.readFileSync(path.join(shipped, name), "utf8"));

  it.each(names.map((name, i): [string, string] => [name, texts[i] ?? ""]))(
    "%s leaves no member open",
    (_, text) => {
      // an object of any members, or a member of any type, has only its description
      const open: string[] = [];
      JSON.parse(text, (key, value: unknown) => {
        const isSchema = typeof value === "object" && value !== null && !Array.isArray(value);
        const words = isSchema ? Object.keys(value).filter((word) => word !== "description") : [];
        if (isSchema && words.length === 0) open.push(key);
        return value;
      });
      expect(open).toEqual([]);
    },
  );
});

describe("a document", () => {
  it("of each command fits the schema that it names", () => {
    check("convert", legacy, save);
    for (const to of ["elf", "kdump", "lime", "xen-core", "raw"])
      check("extract", save, `${save}.${to}`, "--to", to);
    check("verify", legacy, save, `${save}.nothing`);
    check("explain", "libxc/page-data");
    check("formats", "libxc");
    check("formats", "no such");
    for (const input of [legacy, save, `${save}.elf`, `${save}.kdump`, `${save}.lime`, `${save}.xen-core`])
      check("inspect", input);
    check("inspect", unpack("qemu-migration/tiny-compress.qevm.gz"));
    check("inspect", path.join(fixtures, "libvirt-save/nodes-and-dimm.save"));
    expect([...kinds].sort()).toEqual(
      expect.arrayContaining([
        "elf-vmcore",
        "error",
        "extract",
        "kdump",
        "lime",
        "qemu-migration",
        "xen-core",
        "xen-legacy",
        "xen-legacy-conversion",
        "xen-stream",
      ]),
    );
  });
});
