import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Finding } from "../../src/findings/finding.js";
import type { OpenOptions } from "../../src/guest/options.js";
import type { VmcoreWriter } from "../../src/guest/output-format.js";
import type { GuestImage } from "../../src/guest/image.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { openFile } from "../../src/io/node/files.js";
import { openGuest } from "../../src/open/open.js";
import { elfVmcore } from "../../src/vmcore/elf/format.js";
import { createKdumpWriter } from "../../src/vmcore/kdump/write.js";
import { limeWriter } from "../../src/vmcore/lime/write.js";
import { elfWriter } from "../../src/vmcore/elf/write.js";
import { verifyAs } from "../verify-as.js";
import { hasShared, scratch, sharedData, skipUnless, unzstd } from "../shared.js";
import { MemoryFile } from "./model.js";

const noData = skipUnless(hasShared, "shared/data");
const { folder, cleanup } = scratch();
afterAll(cleanup);

const field = (name: string): string => unzstd(path.join(sharedData, "field", `${name}.zst`), folder);

async function findings(name: string): Promise<readonly Finding[]> {
  return (await verifyAs(elfVmcore, openFile(field(name)))).findings;
}

async function rewritten(guest: GuestImage): Promise<GuestImage> {
  const sink = new MemoryFile();
  await elfWriter.write(guest, sink, {});
  return openGuest(bytesSource(sink.bytes(), "rewritten"));
}

describe.skipIf(noData)("ELF vmcores that people met", () => {
  it("segments that contradict each other are told of", async () => {
    const found = await findings("elf-contradicting-overlap.elf");
    expect(found.map(({ code, severity }) => [code, severity])).toEqual([["vmcore/elf/overlap", "warning"]]);
    const guest = await openGuest(openFile(field("elf-contradicting-overlap.elf")));
    expect(guest.warnings.join()).toMatch(/0x1000 has other contents/);
  });

  it("segments of /proc/kcore without a physical address are no memory", async () => {
    expect(await findings("kcore-new.elf")).toEqual([]);
    const guest = await openGuest(openFile(field("kcore-new.elf")));
    expect(guest.warnings).toEqual([]);
  });

  it("/proc/kcore of old kernels, all physical addresses 0, is refused", async () => {
    const source = openFile(field("kcore-new.elf"));
    const bytes = new Uint8Array(source.size);
    await source.read(0, bytes);
    const view = new DataView(bytes.buffer);
    const [table, count] = [Number(view.getBigUint64(32, true)), view.getUint16(56, true)];
    for (let i = 0; i < count; i += 1)
      if (view.getUint32(table + i * 56, true) === 1) view.setBigUint64(table + i * 56 + 24, 0n, true);
    const old = bytesSource(bytes, "old kcore");
    const report = await verifyAs(elfVmcore, old);
    expect(report.findings.map(({ code }) => code)).toContain("vmcore/elf/no-physical");
    await expect(openGuest(old)).rejects.toMatchObject({ code: "vmcore/elf/no-physical" });
  });

  it("riscv64 is read back from what is written", async () => {
    const guest = await openGuest(openFile(field("qemu-riscv64.elf")));
    expect([guest.arch.name, guest.vcpus.length]).toEqual(["riscv64", 1]);
    const again = await rewritten(guest);
    expect(again.arch.name).toBe("riscv64");
    expect([...again.memory.ranges()]).toEqual([...guest.memory.ranges()]);
    expect(again.vcpus[0]?.registers).toEqual(guest.vcpus[0]?.registers);
  });

  it("riscv64 is read back from a kdump, and from a LiME dump where that is said", async () => {
    const guest = await openGuest(openFile(field("qemu-riscv64.elf")));
    const reopened = async (writer: VmcoreWriter, options: OpenOptions = {}): Promise<GuestImage> => {
      const sink = new MemoryFile();
      await writer.write(guest, sink, {});
      return openGuest(bytesSource(sink.bytes(), "rewritten"), options);
    };
    const spans = ({ memory }: GuestImage): unknown =>
      Array.from(memory.ranges(), ({ start, end }) => [start, end]);
    const kdump = await reopened(createKdumpWriter());
    expect([kdump.arch.name, spans(kdump)]).toEqual(["riscv64", spans(guest)]);
    expect(kdump.vcpus[0]?.registers).toEqual(guest.vcpus[0]?.registers);
    const lime = await reopened(limeWriter, { raw: { arch: "riscv64" } });
    expect([lime.arch.name, spans(lime), lime.warnings]).toEqual(["riscv64", spans(guest), []]);
    // its header has no place for it: never without a word
    const unsaid = await reopened(limeWriter);
    expect(unsaid.warnings.join()).toMatch(/doesn't say what CPU it is of/);
    await expect(reopened(limeWriter, { raw: { arch: "riscv63" } })).rejects.toThrow(
      /no architecture 'riscv63'/,
    );
  });

  it("a kdump of a machine that no one knows is refused, not taken for x86_64", async () => {
    const sink = new MemoryFile();
    await createKdumpWriter().write(await openGuest(openFile(field("qemu-riscv64.elf"))), sink, {});
    const bytes = sink.bytes();
    const at = Buffer.from(bytes).indexOf("riscv64\0");
    expect(at).toBeGreaterThan(0);
    bytes.set(Buffer.from("loong64"), at);
    const other = await openGuest(bytesSource(bytes, "other")).catch((error: unknown) => error);
    // its notes still have riscv64's size
    expect(other).toMatchObject({ arch: { name: "riscv64" } });
    const none = Buffer.from(bytes);
    none.fill(0, none.indexOf("CORE\0"), none.indexOf("CORE\0") + 4);
    await expect(openGuest(bytesSource(none, "none"))).rejects.toMatchObject({
      code: "kdump/header/machine",
    });
  });
});
