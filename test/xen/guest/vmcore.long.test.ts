import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { type ByteSource, bytesSource } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import { openOutput } from "../../../src/io/node/output.js";
import { openGuest } from "../../../src/open/open.js";
import { elfWriter } from "../../../src/vmcore/elf/write.js";
import { limeWriter } from "../../../src/vmcore/lime/write.js";
import { convertLegacy } from "../../../src/xen/legacy/convert.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { pageSums } from "./model.js";

const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");
const { folder: work, cleanup } = scratch();
afterAll(cleanup);

const unpack = (...name: string[]): string => unzstd(path.join(sharedData, ...name), work);

async function extract(guest: GuestImage, output: string, writer = elfWriter): Promise<void> {
  const sink = openOutput(output, { force: true });
  await writer.write(guest, sink, {});
  sink.commit();
}

/** What a reader of the guest sees: memory, processors, the facts a dump rests on. */
async function view(source: ByteSource): Promise<unknown> {
  const guest = await openGuest(source);
  const { arch, vcpus, facts, raw } = guest;
  const seen = {
    arch,
    vcpus,
    raw,
    pages: await pageSums(guest),
    type: facts.guestType,
    info: facts.vmcoreInfo,
    more: { ...facts.more, pageTypes: undefined },
  };
  await guest.close?.();
  return seen;
}

describe.skipIf(skip)("Xen saves as vmcores", () => {
  it("a dump of each save opens as the same guest", async () => {
    for (const name of ["hvm64.save", "pvh64.save", "pv64.save"]) {
      const guest = await openGuest(openFile(unpack("xen-v3", `${name}.zst`)));
      const elf = path.join(work, `${name}.elf`);
      await extract(guest, elf);
      const again = await openGuest(openFile(elf));
      expect(await pageSums(again)).toEqual(await pageSums(guest));
      const registers = again.vcpus[0]?.registers;
      const before = guest.vcpus[0]?.registers;
      expect(registers?.kind === "x86" && registers.general).toEqual(
        before?.kind === "x86" && before.general,
      );
    }
  });

  const readers = hasProgram("makedumpfile") && hasProgram("readelf");
  it.skipIf(skipUnless(readers, "makedumpfile or readelf"))(
    "hvmlinux: makedumpfile and readelf read the dump",
    async () => {
      const elf = path.join(work, "hvmlinux.elf");
      await extract(await openGuest(openFile(unpack("xen-v3", "hvmlinux.save.zst"))), elf);
      const headers = execFileSync("readelf", ["-lW", elf], { encoding: "utf8" });
      expect(headers).toMatch(/LOAD +0x[0-9a-f]+ 0xffffffff91a00000 0x0000000006800000 0x2a00000/);
      // any other alignment and crash takes the file for a netdump
      expect(headers).not.toMatch(/LOAD .* 0x1000$/m);
      const log = path.join(work, "dmesg.txt");
      execFileSync("makedumpfile", ["--dump-dmesg", elf, log]);
      expect(fs.readFileSync(log, "utf8")).toMatch(/^\[ +0\.000000\] Linux version 6\.1\.0-56-cloud-amd64/);
      const filtered = path.join(work, "filtered");
      execFileSync("makedumpfile", ["-c", "-d", "31", elf, filtered]);
      expect(fs.statSync(filtered).size).toBeLessThan(40 << 20);
    },
  );

  const drgn = fs.existsSync("/usr/bin/drgn");
  /** The file that `xl dump-core` wrote of the guest whose save is `save`. */
  const dumpedBeside = (save: string): string =>
    unzstd(path.join(sharedData, "xen-v3/hvmlinux.core.patch.zst"), work, {
      name: "hvmlinux.core",
      patchFrom: save,
    });

  it.skipIf(skipUnless(drgn, "drgn")).each(["save", "xl dump-core", "LiME dump"])(
    "hvmlinux: drgn takes the dump of its %s for a Linux kernel and reads its memory",
    async (kind) => {
      const elf = path.join(work, "hvmlinux.elf");
      const save = unpack("xen-v3", "hvmlinux.save.zst");
      const guest = await openGuest(openFile(kind === "xl dump-core" ? dumpedBeside(save) : save));
      if (kind === "LiME dump") {
        const memory = path.join(work, "hvmlinux.lime");
        await extract(guest, memory, limeWriter);
        await extract(await openGuest(openFile(memory)), elf);
      } else await extract(guest, elf);
      const script = [
        "import drgn, sys",
        "p = drgn.Program(); p.set_core_dump(sys.argv[1])",
        "print(p.flags, p['UTS_RELEASE'].string_().decode())",
        "print(p.read(0xffffffff92403db3, 1).hex(), p.read(0x1936018, 10, True).decode())",
      ].join("\n");
      const said = execFileSync("/usr/bin/python3", ["-c", script, elf], { encoding: "utf8" });
      expect(said).toContain("IS_LINUX_KERNEL");
      expect(said).toContain("6.1.0-56-cloud-amd64");
      // the byte xenctx printed at rip, and the start of VMCOREINFO
      expect(said).toContain("e9 OSRELEASE=");
    },
  );

  it("a legacy stream and what it converts to are the same guest", async () => {
    const folder = path.join(sharedData, "xen-legacy");
    const names = fs.readdirSync(folder).filter((name) => name.endsWith(".legacy.zst"));
    let compared = 0;
    for (const name of names) {
      const file = unpack("xen-legacy", name);
      const sink = new MemorySink();
      const source = openFile(file);
      try {
        await convertLegacy(source, sink, { allowLoss: true });
        expect([name, await view(bytesSource(sink.bytes()))]).toEqual([name, await view(source)]);
        compared += 1;
      } finally {
        source.close();
        fs.rmSync(file);
      }
    }
    expect(compared).toBe(names.length);
  });
});
