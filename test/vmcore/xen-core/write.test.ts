import type { ByteSource } from "../../../src/io/byte-source.js";
import { verifyAs } from "../../verify-as.js";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { I386 } from "../../../src/guest/arch/x86.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { UsageError } from "../../../src/findings/errors.js";
import { openFile } from "../../../src/io/node/files.js";
import { xenCore } from "../../../src/vmcore/xen-core/format.js";
import { type XenCoreInspection } from "../../../src/vmcore/xen-core/inspect.js";
import { xenCoreWriter } from "../../../src/vmcore/xen-core/write.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { differences, pagesOf } from "../kdump/data.js";
import { MemoryFile, modelGuest } from "../model.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");

const open = (input: ByteSource): Promise<GuestImage> => xenCore.reader.openGuest(input, {});

async function written(guest: GuestImage): Promise<Uint8Array> {
  const [pipe, file] = [new MemorySink(), new MemoryFile()];
  const { size } = await xenCoreWriter.write(guest, pipe, {});
  await xenCoreWriter.write(guest, file, {});
  const bytes = pipe.bytes();
  expect(bytes.length).toBe(size);
  expect(Buffer.compare(bytes, file.bytes())).toBe(0);
  return bytes;
}

describe("Xen core writer", () => {
  for (const guestType of ["HVM", "PV"]) {
    it(`${guestType}: what it writes is read back`, async () => {
      const { guest } = modelGuest({ guestType });
      const bytes = await written(guest);
      const again = await open(bytesSource(bytes));
      const present = new Map([...(await pagesOf(guest)).pages].filter(([, crc]) => crc !== "-"));
      expect(differences((await pagesOf(again)).pages, present)).toEqual([]);
      expect(again.facts.guestType).toBe(guestType);
      const [before, after] = [guest.vcpus[0]?.registers, again.vcpus[0]?.registers];
      if (before?.kind !== "x86" || after?.kind !== "x86") throw new Error("no registers");
      expect(after.general).toEqual(before.general);
      expect(after.control).toEqual(before.control);
      expect(after.segments.gs?.base).toBe(before.segments.gs?.base ?? 0n);
      expect(after.msrs.kernel_gs_base).toBe(before.msrs.kernel_gs_base);
      const report = new Report("written");
      await verifyAs(xenCore, bytesSource(bytes), report);
      expect(report.findings).toEqual([]);
    });
  }

  it("refuses 32-bit guests and parts of pages", async () => {
    const small = modelGuest({ arch: I386 }).guest;
    await expect(xenCoreWriter.write(small, new MemorySink(), {})).rejects.toBeInstanceOf(UsageError);
    const { guest } = modelGuest();
    const range = { start: 0, end: 100 };
    await expect(xenCoreWriter.write(guest, new MemorySink(), { range })).rejects.toBeInstanceOf(UsageError);
  });

  it.skipIf(skipUnless(hasProgram("readelf"), "readelf"))(
    "readelf finds nothing to complain of",
    async () => {
      const file = path.join(folder, "model.core");
      fs.writeFileSync(file, await written(modelGuest({ guestType: "PV" }).guest));
      const { stdout, stderr } = spawnSync("readelf", ["-h", "-S", "-W", file], { encoding: "utf8" });
      expect(stderr).toBe("");
      for (const name of [".note.Xen", ".xen_prstatus", ".xen_pages", ".xen_p2m"])
        expect(stdout).toContain(name);
    },
  );
});

describe.skipIf(noData)("files of xl dump-core, read and written again", () => {
  for (const name of ["pv64", "hvm64"]) {
    it(`${name} keeps pages, processors and shared info`, async () => {
      const file = openFile(unzstd(path.join(sharedData, "xen-v3", `${name}.core.zst`), folder));
      const guest = await open(file);
      const bytes = await written(guest);
      const again = await open(bytesSource(bytes));
      expect(differences((await pagesOf(again)).pages, (await pagesOf(guest)).pages)).toEqual([]);
      expect(again.vcpus).toEqual(guest.vcpus);
      expect(again.raw).toEqual(guest.raw);
      const frames = [0x11c, 0x200, 0xbff].map((frame) => again.machineFrame?.(frame));
      expect(frames).toEqual([0x11c, 0x200, 0xbff].map((frame) => guest.machineFrame?.(frame)));
      expect(frames.some((frame) => frame !== undefined)).toBe(name === "pv64");
      const seen = (await xenCore.reader.inspect(bytesSource(bytes), {})) as XenCoreInspection;
      const theirs = (await xenCore.reader.inspect(file, {})) as XenCoreInspection;
      expect(seen.details.sections.map((section) => section.name)).toEqual(
        // crash dies of a note of ours in .note.Xen: where the core came from stands in a section of its own
        [...theirs.details.sections.map((section) => section.name), ".guestscope"],
      );
      expect(seen.details.xenVersion?.startsWith("4.17")).toBe(true);
      file.close();
    });
  }
});
