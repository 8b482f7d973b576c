import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { hasShared, runCli, skipUnless } from "../shared.js";
import { cleanup, fixture, folder, INPUTS, shared } from "./inputs.js";

afterAll(cleanup);

const HEAD = ["name", "uuid", "system", "panic", "machine", "memory", "vCPUs", "health"];
/** Sections of every format, in their order; those of the format itself are before them. */
const LAST = ["vCPUs", "Running", "Damage", "Warnings"];

/** Holds a text against the layout that all formats have; returns the titles of its sections. */
function sectionsOf(text: string): string[] {
  const [head = [], ...blocks] = text
    .trimEnd()
    .split("\n\n")
    .map((block) => block.split("\n"));
  expect(head[0]).toMatch(/^\S.*: \S/);
  const labels = head.slice(1).map((line) => /^ {2}(\w+) {2,}\S/.exec(line)?.[1]);
  expect(HEAD.filter((label) => labels.includes(label))).toEqual(labels);
  expect(labels).toEqual(expect.arrayContaining(["machine", "memory", "vCPUs", "health"]));
  for (const [title, ...lines] of blocks) {
    expect(title).toMatch(/^[A-Zv]\S*( \S+)*( {2}\S.*)?$/);
    for (const line of lines) expect(line).toMatch(/^ {2}/);
  }
  const titles = blocks.map(([title = ""]) => title.replace(/ {2}.*$/, ""));
  expect(new Set(titles).size).toBe(titles.length);
  return titles;
}

describe("inspect as text", () => {
  it.each(Object.keys(INPUTS))("of a %s has the layout of all formats", (kind) => {
    const { status, stdout } = runCli(["inspect", ...(INPUTS[kind]?.() ?? [])]);
    expect(status).toBe(0);
    const titles = sectionsOf(stdout);
    expect(titles).toContain("Memory");
    const last = titles.filter((title) => LAST.includes(title));
    expect(titles.slice(-last.length)).toEqual(LAST.filter((title) => last.includes(title)));
  });

  it("counts vCPUs by their ids, and says where a format records none", () => {
    expect(runCli(["inspect", fixture("linux/panic-6.1.elf.xz")]).stdout).toMatch(
      /^ {2}vCPUs +2 \(ids 0-1\)$/m,
    );
    const raw = path.join(folder, "ram.raw");
    fs.writeFileSync(raw, new Uint8Array(4096));
    expect(runCli(["inspect", "--format", "raw", raw]).stdout).toMatch(/^ {2}vCPUs +none recorded$/m);
  });

  it("shows the kernel's banner up to its end, as the kernel's log has it", () => {
    const log = zlib.gunzipSync(fs.readFileSync(fixture("linux/arm64-6.12.dmesg.txt.gz"))).toString("utf8");
    const banner = /Linux version .*/.exec(log)?.[0] ?? "nothing";
    const { stdout } = runCli(["inspect", fixture("linux/arm64-6.12.elf.xz")]);
    expect(/^ {2}kernel +(.*)$/m.exec(stdout)?.[1]).toBe(banner);
  });

  it.skipIf(skipUnless(hasShared, "shared data"))(
    "lists memory that exists: what a Xen guest never had populated isn't",
    () => {
      const { stdout } = runCli(["inspect", shared("xen-v3/hvm64.save.zst")]);
      expect(stdout).toMatch(/^Memory {2}16\.0 MiB in \d+ ranges\n/m);
      expect(stdout).not.toMatch(/not here/);
    },
  );
});
