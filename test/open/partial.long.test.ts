import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { GuestscopeError, UsageError } from "../../src/findings/errors.js";
import type { GuestImage } from "../../src/guest/image.js";
import { memoryTotals } from "../../src/guest/memory.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";
import type { ByteSource } from "../../src/io/byte-source.js";
import { openRandomAccess } from "../../src/io/node/decompress.js";
import { openFile } from "../../src/io/node/files.js";
import { openGuest, verify } from "../../src/open/open.js";
import { fixtures, hasShared, sharedData, skipUnless } from "../shared.js";

installNodeCodecs();
const LARGEST = 32 << 20;

/** Files of a folder and those below, but for what documents them; a delta without its base is none either. */
function filesOf(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.(md|json|txt|py|sh|tsv|c|S|patch\.zst)$/.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => fs.statSync(file).size < LARGEST);
}

const seenOf = ({ arch, memory, rescue, vcpus, warnings }: GuestImage): unknown => ({
  arch: arch.name,
  totals: memoryTotals(memory),
  rescue,
  vcpus: vcpus.length,
  warnings,
});

/** Whether nothing is wrong with an input: beside its guest's memory there may be. */
async function isSound(source: ByteSource): Promise<boolean> {
  try {
    return (await verify(source)).report.valid;
  } catch (error) {
    // there is no verifier of cores of processes
    if (error instanceof UsageError) return true;
    throw error;
  }
}

/** What a guest is like; undefined where the input isn't sound. */
async function guestOf(file: string, partial: boolean): Promise<unknown> {
  const access = await openRandomAccess(openFile(file));
  try {
    if (!partial && !(await isSound(access.source))) return undefined;
    const guest = await openGuest(access.source, { partial, findKernel: false });
    const seen = seenOf(guest);
    await guest.close?.();
    return seen;
  } finally {
    access.close();
  }
}

/** Opens every file that opens as a whole once more, as one that may be damaged. */
async function compare(folder: string): Promise<number> {
  let count = 0;
  for (const file of filesOf(folder)) {
    let whole: unknown;
    try {
      whole = await guestOf(file, false);
    } catch (error) {
      expect(error, file).toBeInstanceOf(GuestscopeError);
      continue;
    }
    if (whole === undefined) continue;
    expect(await guestOf(file, true), file).toEqual(whole);
    count += 1;
  }
  return count;
}

describe("an input without damage is the same guest with partial, and nothing of it is said to be lost", () => {
  it("of the fixtures", { timeout: 300_000 }, async () => {
    expect(await compare(fixtures)).toBeGreaterThan(40);
  });

  it.skipIf(skipUnless(hasShared, "shared/data"))("of shared/data", { timeout: 600_000 }, async () => {
    expect(await compare(sharedData)).toBeGreaterThan(80);
  });
});
