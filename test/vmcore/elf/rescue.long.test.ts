import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, it } from "vitest";
import { FormatError } from "../../../src/findings/errors.js";
import { DAMAGE_KINDS, damageSize, expectRescue, randoms } from "../../guest/damage-oracle.js";
import { fixtures, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { headOf, knownElf } from "./rescued-file.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** Damages the headers, the notes and any place of a dump at random. */
async function sweep(bytes: Buffer, rounds: number): Promise<void> {
  const file = await knownElf(bytes);
  const head = await headOf(bytes);
  for (const kind of DAMAGE_KINDS) {
    const next = randoms(kind.length * 7919 + 3);
    for (let round = 0; round < rounds; round += 1) {
      const size = Math.min(damageSize(kind, next), bytes.length >> 2);
      const isAnywhere = round % 4 === 3;
      const start = Math.floor(next() * (isAnywhere ? bytes.length - size : head));
      try {
        await expectRescue(file, kind, start, round % 2 === 0 ? Math.min(size, 64) : size, next);
      } catch (error) {
        // nothing is left that says where memory is
        if (!(error instanceof FormatError) || start >= head) throw error;
      }
    }
  }
}

describe("ELF vmcores, damaged at random places", () => {
  it.each(["aarch64", "arm", "i386", "ppc64", "s390x"])(
    "QEMU's of %s",
    { timeout: 600_000 },
    async (name) => {
      const packed = fs.readFileSync(path.join(fixtures, "vmcore/machines", `${name}.elf.gz`));
      await sweep(zlib.gunzipSync(packed), 40);
    },
  );

  it
    .skipIf(skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd"))
    .each([
      "kdump/tiny-split.elf",
      "qemu-core/tiny-pc/ref.vmcore",
      "qemu11/dump-s390x/dump.elf",
      "field/aarch64-linux.elf",
      "field/qemu-riscv64.elf",
      "field/kcore-new.elf",
    ])("%s", { timeout: 600_000 }, async (name) => {
    await sweep(fs.readFileSync(unzstd(path.join(sharedData, `${name}.zst`), folder)), 16);
  });
});
