import { verifyAs } from "../../verify-as.js";
import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { type ByteSource, bytesSource } from "../../../src/io/byte-source.js";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { openFile } from "../../../src/io/node/files.js";
import { openGuest } from "../../../src/open/open.js";
import { isVmcore } from "../../../src/vmcore/elf/detect.js";
import { isXenCore } from "../../../src/vmcore/xen-core/detect.js";
import { xenCore } from "../../../src/vmcore/xen-core/format.js";
import { type XenCoreInspection } from "../../../src/vmcore/xen-core/inspect.js";
import { gunzipText, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { pagesOf } from "../kdump/data.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
const xen = path.join(sharedData, "xen-v3");

function open(input: ByteSource): Promise<GuestImage> {
  return xenCore.reader.openGuest(input, {});
}

async function codes(input: ByteSource): Promise<string[]> {
  const report = new Report(input.name);
  await verifyAs(xenCore, input, report);
  return [...new Set(report.findings.map(({ code }) => code))];
}

/** Pages of the stream of the same guest: pfn → checksum. */
function streamPages(name: string): Map<number, number> {
  const lines = gunzipText(path.join(xen, `${name}.pages.gz`))
    .trim()
    .split("\n");
  const rows = lines.map((line) => line.split(" ")).filter(([, , crc]) => crc !== "-");
  return new Map(rows.map(([pfn = "", , crc = ""]) => [Number.parseInt(pfn, 16), Number.parseInt(crc, 16)]));
}

/** Per guest: pages alike, differing, in the stream only, in the core only (INDEX.md). */
const COMPARED = {
  hvm64: [4059, 0, 28, 1],
  "hvm64-live": [4064, 0, 28, 0],
  pvh64: [4056, 0, 49, 1],
  pv64: [3061, 5, 0, 0],
} as const;

describe.skipIf(noData)("files of xl dump-core", () => {
  for (const [name, expected] of Object.entries(COMPARED)) {
    it(`${name} has the pages of the saved stream`, async () => {
      const file = openFile(unzstd(path.join(xen, `${name}.core.zst`), folder));
      const head = new Uint8Array(4096);
      await file.read(0, head);
      expect([isXenCore(head), isVmcore(head)]).toEqual([true, false]);
      const guest = await open(file);
      const { pages } = await pagesOf(guest);
      const stream = streamPages(name);
      const counts = [0, 0, 0, 0];
      for (const [pfn, crc] of stream) {
        const ours = pages.get(pfn);
        const kind = ours === undefined ? 2 : Number.parseInt(ours, 16) === crc ? 0 : 1;
        counts[kind] = (counts[kind] ?? 0) + 1;
      }
      counts[3] = [...pages.keys()].filter((pfn) => !stream.has(pfn)).length;
      expect(counts).toEqual(expected);
      expect(guest.facts.guestType).toBe(name === "pv64" ? "PV" : "HVM");
      expect(guest.facts.hypervisor).toMatch(/^Xen 4\.17/);
      expect(await codes(file)).toEqual([]);
      const seen = (await xenCore.reader.inspect(file, {})) as XenCoreInspection;
      expect(seen.vcpus).toHaveLength(1);
      // room that dump-core made and didn't need is no memory
      expect(seen.details.pages).toBeGreaterThanOrEqual(pages.size);
      file.close();
    });
  }

  it("pv64 has the registers that were set", async () => {
    const guest = await open(openFile(unzstd(path.join(xen, "pv64.core.zst"), folder)));
    const registers = guest.vcpus[0]?.registers;
    if (registers?.kind !== "x86") throw new Error("no registers");
    const { rbp, r8, r9, r12, r15, rdi } = registers.general;
    expect([rbp, r8, r9, r12, r15, rdi].map((value) => value.toString(16))).toEqual([
      "a5a5a5a5a5a5a505",
      "a8a8a8a8a8a8a808",
      "a9a9a9a9a9a9a909",
      "acacacacacacac0c",
      "afafafafafafaf0f",
      "2",
    ]);
    const text = fs.readFileSync(path.join(xen, "pv64.xenctx.txt"), "utf8");
    const [, rip = ""] = /rip: ([0-9a-f]+)/.exec(text) ?? [];
    expect(registers.general.rip).toBe(BigInt(`0x${rip}`));
  });

  it("segment bases are those that were set, segments those of the saved stream", async () => {
    const hvm = await open(openFile(unzstd(path.join(xen, "hvm64.core.zst"), folder)));
    const registers = hvm.vcpus[0]?.registers;
    if (registers?.kind !== "x86") throw new Error("no registers");
    expect(registers.segments.fs?.base).toBe(0x75f5_f5f5_0000n);
    expect(registers.segments.gs?.base).toBe(0xffff_9191_919a_0000n);
    expect(registers.msrs.kernel_gs_base).toBe(0x7b7b_7b7b_0000n);
    // the saved stream of the same guest holds the same processor
    const core = await open(openFile(unzstd(path.join(xen, "pv64.core.zst"), folder)));
    const save = await openGuest(openFile(unzstd(path.join(xen, "pv64.save.zst"), folder)));
    const [ours, theirs] = [core.vcpus[0]?.registers, save.vcpus[0]?.registers];
    if (ours?.kind !== "x86" || theirs?.kind !== "x86") throw new Error("no registers");
    expect(ours.segments).toEqual(theirs.segments);
    expect(ours.msrs).toEqual(theirs.msrs);
  });

  it("cut files and damage are met with findings and errors, nothing else", async () => {
    const bytes = new Uint8Array(fs.readFileSync(unzstd(path.join(xen, "hvm64.core.zst"), folder)));
    for (const size of [64, 600, 5000, 12_288, 40_000, bytes.length - 40_000, bytes.length - 1000]) {
      const cut = bytesSource(bytes.subarray(0, size));
      expect(await codes(cut), `${size}`).not.toEqual([]);
      await expect(open(cut), `${size}`).rejects.toBeInstanceOf(GuestscopeError);
    }
    const small = bytes.slice();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(1900), fc.constantFrom(0, 1, 0x7f, 0xff)), { minLength: 1, maxLength: 4 }),
        async (changes) => {
          const before = changes.map(([at]) => small[at] ?? 0);
          for (const [at, to] of changes) small[at] = to;
          try {
            isXenCore(small.subarray(0, 4096));
            await codes(bytesSource(small));
            await (await open(bytesSource(small))).memory.read(4096, new Uint8Array(4096));
          } catch (error) {
            expect(error).toBeInstanceOf(GuestscopeError);
          }
          for (const [i, [at]] of changes.entries()) small[at] = before[i] ?? 0;
        },
      ),
      { numRuns: 80 },
    );
  });
});
