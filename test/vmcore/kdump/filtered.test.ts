import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FormatError } from "../../../src/findings/errors.js";
import { extractGuest } from "../../../src/guest/extract.js";
import { type MemoryRange, memoryTotals } from "../../../src/guest/memory.js";
import type { AtomicSink } from "../../../src/io/byte-sink.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import { openGuest } from "../../../src/open/open.js";
import { elfWriter } from "../../../src/vmcore/elf/write.js";
import { kdump } from "../../../src/vmcore/kdump/format.js";
import { FLATTENED_HEADER_SIZE } from "../../../src/vmcore/kdump/layout.js";
import { verifyAs } from "../../verify-as.js";
import { hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { MemoryFile } from "../model.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

class Output extends MemoryFile implements AtomicSink {
  commit(): void {}
  abandon(): void {}
}

async function extract(file: string): Promise<{ written: boolean; bytes: Uint8Array; kinds: Set<string> }> {
  const guest = await openGuest(openFile(file));
  const output = new Output();
  const missing: MemoryRange[] = [];
  const { written } = await extractGuest(guest, elfWriter, () => output, {
    onMissing: (_, ranges) => {
      for (const range of ranges) missing.push(range);
    },
  });
  await guest.close?.();
  return { written, bytes: output.bytes(), kinds: new Set(missing.map(({ reason }) => reason?.kind ?? "")) };
}

describe.skipIf(skipUnless(hasShared, "shared/data"))("dumps that lack pages", () => {
  const of = (name: string): string => path.join(sharedData, "kdump", name);
  const base = (): string => unzstd(of("linux.elf.zst"), folder);

  it("on purpose (dump level 31) are extracted, and the output's note says so", async () => {
    const { written, bytes, kinds } = await extract(unzstd(of("linux.zlib-d31.kdump.zst"), folder));
    expect([written, [...kinds]]).toEqual([true, ["excluded"]]);
    const notes = Buffer.from(bytes.subarray(0, 1 << 20)).toString("latin1");
    expect(notes).toMatch(/\nexcluded=54857728 bytes: excluded by dump level 31\n/);
    const again = await openGuest(bytesSource(bytes));
    expect(again.vcpus).toHaveLength(2);
  });

  it("on purpose: the command ends with 0, with one line of what was excluded; ranges with --verbose", () => {
    const file = unzstd(of("linux.zlib-d31.kdump.zst"), folder);
    const out = path.join(folder, "d31.elf");
    const { status, stdout, stderr } = runCli(["extract", "--force", file, out]);
    expect([status, stderr.trim().split("\n")]).toEqual([
      0,
      ["guestscope: the input's writer excluded 52.3 MiB of memory (72.4%) on purpose"],
    ]);
    expect(stdout).toMatch(/; 52\.3 MiB \(72\.4%\) was excluded from the input on purpose\n$/);
    const verbose = runCli(["extract", "--force", "--verbose", file, out]);
    expect(verbose.status).toBe(0);
    expect(
      verbose.stderr.match(/^guestscope: missing 0x.*: excluded by dump level 31$/gm)?.length,
    ).toBeGreaterThan(10);
  });

  it("for want of room or another part are refused", async () => {
    const whole = unzstd(of("linux.zlib-d31.kdump.zst"), folder);
    for (const name of ["linux.zlib-d31.incomplete.kdump", "linux.zlib-d31.split1.kdump"]) {
      const packed = of(`${name}.patch.zst`);
      let file: string;
      try {
        file = unzstd(packed, folder, { patchFrom: whole });
      } catch {
        file = unzstd(packed, folder, { patchFrom: base() });
      }
      const { written, kinds } = await extract(file);
      expect(written).toBe(false);
      expect([...kinds].filter((kind) => kind !== "excluded")).toHaveLength(1);
    }
  });

  it("a flattened ELF vmcore is read as the ELF in it", async () => {
    const file = unzstd(path.join(sharedData, "field/elf-flattened.flat.zst"), folder);
    const report = await verifyAs(kdump, openFile(file));
    expect(report.findings.filter(({ severity }) => severity !== "note")).toEqual([]);
    const guest = await openGuest(openFile(file));
    expect(guest.facts.origin).toMatch(/^ELF vmcore.*\(flattened\)$/);
    const [first] = guest.memory.ranges();
    expect(await guest.memory.read(first?.start ?? 0, new Uint8Array(4096))).toBe(4096);
  });

  it("a flattened ELF vmcore with a damaged record is refused, or lacks what the record held", async () => {
    const whole = fs.readFileSync(unzstd(path.join(sharedData, "field/elf-flattened.flat.zst"), folder));
    // the head of the third record
    let at = FLATTENED_HEADER_SIZE;
    for (let i = 0; i < 2; i += 1) at += 16 + Number(whole.readBigUInt64BE(at + 8));
    const damaged = Buffer.from(whole).fill(0xff, at, at + 15);
    await expect(openGuest(bytesSource(damaged, "damaged"))).rejects.toBeInstanceOf(FormatError);
    const guest = await openGuest(bytesSource(damaged, "damaged"), { partial: true });
    expect(guest.rescue?.lost.length).toBeGreaterThan(0);
    expect(memoryTotals(guest.memory).absent).toBeGreaterThan(0);
  });
});
