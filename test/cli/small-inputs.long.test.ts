import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hasShared, runCli, scratch, sharedData, skipUnless } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const data = (name: string): string => path.join(sharedData, "fuzz", name);
const output = path.join(folder, "output");

/** Real times are a tenth of it, the faults that these inputs once met took minutes. */
const DEADLINE_MS = 60_000;

interface Row {
  readonly input: string;
  /** Arguments; `F` is the input, `O` an output. */
  readonly command: string;
  readonly status: number;
  /** In what is printed. */
  readonly says?: RegExp;
}

const rows = (input: string, ...cells: (readonly [string, number, RegExp?])[]): Row[] =>
  cells.map(([command, status, says]) => ({
    input,
    command,
    status,
    ...(says === undefined ? {} : { says }),
  }));

/** As the folder's INDEX.md asks, input by input. */
const ROWS: readonly Row[] = [
  ...rows("legacy-remus-compressed.bin", ["verify F", 0], ["extract F O", 0], ["convert F O", 0]),
  ...rows("elf-140000-notes.bin", ["verify F", 0], ["inspect F", 0]),
  ...rows("core-140000-notes.bin", ["inspect --debug-file mimic-debug.bin F", 0]),
  ...rows("kdump-140000-notes.bin", ["extract F O", 0]),
  ...rows("dwarf-140000-declarations.bin", ["inspect --debug-file F mimic-core.bin", 1, /\[open\/unknown\]/]),
  ...rows("dwarf-gdb-index.bin", ["inspect --debug-file F mimic-core.bin", 1, /\[open\/unknown\]/]),
  ...rows("mimic-core.bin", ["inspect --debug-file mimic-debug.bin F", 0]),
  ...rows("xl-config-newlines.bin", ["inspect F", 0], ["extract F O", 0, /can't be parsed as JSON/]),
  ...rows("xl-config-zeros.bin", ["verify F", 1, /can't be parsed as JSON/], ["inspect F", 0]),
  ...rows(
    "flattened-announced-bitmap.bin",
    ["verify F", 1, /ends before/],
    ["inspect F", 1],
    ["extract F O", 1],
  ),
  ...rows("flattened-overlaps.bin", ["verify F", 0]),
  ...rows("elf-absent-loads.bin", ["verify F", 0], ["inspect F", 0]),
  ...rows("elf-absent-15TiB.bin", ["inspect F", 0]),
  ...rows("elf-odd-address.bin", ["verify F", 0], ["inspect F", 0, /5\.0 GiB/]),
  ...rows(
    "xen-pfn-beyond-2e40.bin",
    ["verify F", 1, /\[libxc\/page-data\/beyond-p2m\]/],
    ["extract F O", 1, /\[libxc\/page-data\/beyond-p2m\]/],
  ),
  ...rows(
    "legacy-hvm-context-broken.bin",
    ["verify F", 1, /\[hvm-context\/entry\/overrun\]/],
    ["convert F O", 1, /\[hvm-context\/entry\/overrun\]/],
    ["extract F O", 0, /vCPUs may be missing/],
  ),
  ...rows(
    "v3-hvm-context-broken.bin",
    ["verify F", 1, /\[hvm-context\/entry\/overrun\]/],
    ["extract F O", 0, /vCPUs may be missing/],
  ),
  ...rows(
    "legacy-xl-config-not-json.bin",
    ["verify F", 1, /\[legacy\/xl-config\]/],
    ["convert F O", 1, /\[legacy\/xl-config\]/],
    ["extract F O", 0, /can't be parsed as JSON/],
  ),
  ...rows(
    "xapi-length-ignored-by-pipe.bin",
    ["verify F", 1, /\[envelope\/no-stream\]/],
    ["verify -", 1, /\[envelope\/no-stream\]/],
  ),
  ...rows("elf-section-names.bin", ["verify F", 1], ["inspect F", 1]),
  ...rows("terminal-escape.bin", ["verify F", 0], ["inspect F", 0, /\\x1b/]),
];

describe.skipIf(skipUnless(hasShared, "shared/data"))("small inputs that once broke something", () => {
  it.each(ROWS)(
    "$input: $command",
    ({ input, command, status, says }) => {
      const args = command.split(" ").map((word) => {
        if (word === "F") return data(input);
        return word === "O" ? output : word.endsWith(".bin") ? data(word) : word;
      });
      fs.rmSync(output, { force: true });
      const run = runCli(args, command.endsWith("-") ? { input: fs.readFileSync(data(input)) } : {});
      expect(run.stderr).not.toContain("internal error");
      expect(run.status, run.stderr).toBe(status);
      const printed = run.stdout + run.stderr;
      if (says !== undefined) expect(printed).toMatch(says);
      // no control character of an input reaches the terminal
      // oxlint-disable-next-line no-control-regex -- those are looked for
      expect(printed).not.toMatch(/[\0-\x08\x0b-\x1f\x7f]/);
      if (command.endsWith(" O")) expect(fs.existsSync(output)).toBe(status === 0);
    },
    DEADLINE_MS,
  );

  it("are all those of the folder", () => {
    const named = new Set(ROWS.flatMap(({ input, command }) => [input, ...command.split(" ")]));
    const there = fs.readdirSync(path.join(sharedData, "fuzz")).filter((name) => name.endsWith(".bin"));
    expect(there.filter((name) => !named.has(name))).toEqual([]);
  });
});
