import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { GuestscopeError } from "../../src/findings/errors.js";
import { openRandomAccess } from "../../src/io/node/decompress.js";
import { openFile } from "../../src/io/node/files.js";
import { inspect, openGuest, verify } from "../../src/open/open.js";
import { hasShared, projectRoot, sharedData, skipUnless } from "../shared.js";

/** Real times are a tenth of it; the faults that this looks for take minutes. */
const DEADLINE_MS = 10_000;

/** What each function made of an input: `done`, or the code of its error. */
async function outcomes(name: string): Promise<Record<string, string>> {
  const opened = await openRandomAccess(openFile(path.join(sharedData, "fuzz", name)));
  const { source } = opened;
  const of = async (run: () => Promise<unknown>): Promise<string> => {
    try {
      await run();
      return "done";
    } catch (error) {
      if (error instanceof GuestscopeError) return error.code;
      throw error;
    }
  };
  try {
    return {
      verify: await of(() => verify(source)),
      inspect: await of(() => inspect(source)),
      open: await of(async () => (await openGuest(source)).close?.()),
    };
  } finally {
    opened.close();
  }
}

describe("small files that ask for much", () => {
  const done = { verify: "done", inspect: "done", open: "done" };
  const noBitmap = { verify: "done", inspect: "kdump/truncated", open: "kdump/truncated" };
  const noCore = { inspect: "vmcore/xen-core/sections", open: "vmcore/xen-core/sections" };

  it.skipIf(skipUnless(hasShared, "shared/data")).each([
    ["elf-140000-notes.bin", done],
    ["kdump-140000-notes.bin", done],
    ["xl-config-newlines.bin", done],
    ["xl-config-zeros.bin", done],
    ["flattened-announced-bitmap.bin", noBitmap],
    ["flattened-overlaps.bin", done],
    ["elf-absent-loads.bin", done],
    ["elf-absent-15TiB.bin", done],
    ["elf-odd-address.bin", done],
    ["elf-section-names.bin", noCore],
  ])(
    "%s is done with at once",
    async (name, expected) => {
      expect(await outcomes(name)).toMatchObject(expected);
    },
    DEADLINE_MS,
  );
});

describe("the source text", () => {
  const src = path.join(projectRoot, "src");
  const files = fs
    .readdirSync(src, { recursive: true, encoding: "utf8" })
    // the command line's own arguments and columns are few
    .filter((file) => file.endsWith(".ts") && !file.startsWith(`cli${path.sep}`));
  const withPattern = (pattern: RegExp): string[] =>
    files.filter((file) => pattern.test(fs.readFileSync(path.join(src, file), "utf8")));

  it.each([
    ["hands no list to push as arguments: appendTo does it", /\.(push|unshift)\(\s*\.\.\./],
    ["hands no list to Math.max or Math.min", /Math\.(max|min)\(\s*\.\.\./],
    ["cuts NULs off with trimNuls, not with an expression of quadratic time", /replace(All)?\(\/\\0\+\$\//],
    ["has no expression that tries white space at each line's start", /\^\\\\?s\*[^\n]*(\/m|"m")/],
  ])("%s", (_, pattern) => {
    expect(files.length).toBeGreaterThan(200);
    expect(withPattern(pattern)).toEqual([]);
  });
});
