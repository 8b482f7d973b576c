import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { fixtures, hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../shared.js";
import { hasTerminal, onTerminal, shellCommand } from "./terminal-session.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const fixture = (name: string): string => path.join(fixtures, name);
const shared = (name: string): string => unzstd(path.join(sharedData, name), folder);

function converted(): string {
  const legacy = path.join(folder, "web01.legacy");
  fs.writeFileSync(legacy, zlib.gunzipSync(fs.readFileSync(fixture("demo/web01.legacy.gz"))));
  const save = path.join(folder, "web01.save");
  expect(runCli(["convert", "--force", legacy, save]).status).toBe(0);
  return save;
}

/** One input of each kind, by the options that open it. */
const INPUTS: Readonly<Record<string, () => readonly string[]>> = {
  "xen-stream": () => [converted()],
  "xen-legacy": () => [fixture("demo/web01.legacy.gz")],
  "qemu-migration": () => [fixture("qemu-migration/tiny-compress.qevm.gz")],
  "libvirt save": () => [fixture("libvirt-save/nodes-and-dimm.save")],
  "elf-vmcore": () => [fixture("linux/panic-6.1.elf.xz")],
  "elf-vmcore of aarch64": () => [fixture("linux/arm64-6.12.elf.xz")],
  lime: () => {
    const dump = path.join(folder, "panic.lime");
    const made = runCli(["extract", "--force", "--partial", fixture("linux/panic-6.1.elf.xz"), dump]);
    expect(made.status).toBeLessThan(2);
    return [dump];
  },
  kdump: () => [fixture("vmcore/tiny-split.lzo.flat.gz")],
  ...(hasShared
    ? {
        qcow2: () => [shared("field/savevm.qcow2.zst")],
        avml: () => [shared("field/compressed.avml.zst")],
        raw: () => ["--format", "raw", shared("field/padded.lime.zst")],
        "xen-core": () => [shared("xen-v3/hvm64.core.zst")],
        "qemu-core": () => [
          "--debug-file",
          shared("qemu-core/debug/qemu-system-x86_64.debug.zst"),
          unzstd(path.join(sharedData, "qemu-core/tiny-pc/core.zst"), folder, { name: "tiny.core" }),
        ],
      }
    : {}),
};

/** Starts the sequence that clears a line: ESC [ K. */
const CLEAR = "\u001b";
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

  it.skipIf(skipUnless(hasTerminal, "script (util-linux)")).each(Object.keys(INPUTS))(
    "of a %s is no wider than a terminal of 80 columns, --verbose or not",
    (kind) => {
      for (const more of [[], ["--verbose"]]) {
        const command = shellCommand("inspect", "--no-pager", ...more, ...(INPUTS[kind]?.() ?? []));
        const { status, output } = onTerminal(command, { env: { NO_COLOR: "1" } });
        expect(status).toBe(0);
        // progress is drawn in one line, over and over
        const shown = output
          .split("\n")
          .map((line) => line.slice(line.lastIndexOf(CLEAR) + 1).replace(/^\[K/, ""));
        expect(shown.filter((line) => Array.from(line).length > 80)).toEqual([]);
      }
    },
  );

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
