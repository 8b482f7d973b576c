import { verifyAs } from "../../verify-as.js";
import { describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { qemuMigration } from "../../../src/qemu/migration/format.js";
import { extractGuest } from "../../../src/guest/extract.js";
import { selectMemory } from "../../../src/guest/selection.js";
import { OUTPUTS } from "../../../src/open/outputs.js";
import { openStream } from "../../../src/qemu/migration/guest.js";
import { buffer, collect, pcDevices, type QevmWriter } from "./qevm-writer.js";

const PAGE = 4096;
const MIB = 2 ** 20;
const page = (byte: number): Buffer => Buffer.alloc(PAGE, byte);

const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

/** A PCI device's configuration: memory decoded, BARs as given. */
function config(vendor: number, bars: Readonly<Record<number, number>>): Buffer {
  const bytes = Buffer.alloc(256);
  bytes.writeUInt16LE(vendor, 0);
  bytes.writeUInt16LE(2, 4);
  for (const [bar, address] of Object.entries(bars)) bytes.writeUInt32LE(address, 0x10 + Number(bar) * 4);
  return bytes;
}

/** Virtio's own form: version, configuration, queues, the device's state. */
const virtio = (...state: readonly Uint8Array[]): Buffer =>
  Buffer.concat([Buffer.from([0, 0, 0, 2]), config(0x1af4, {}), Buffer.alloc(77), ...state]);

interface Extra {
  readonly blocks: readonly { readonly name: string; readonly length: number }[];
  readonly pages: (writer: QevmWriter) => void;
  readonly devices: (writer: QevmWriter) => void;
}

/** A pc machine of one MiB and more. */
const machine = ({ blocks, pages, devices }: Extra): Buffer =>
  collect((writer) => {
    writer
      .header()
      .configuration("pc-i440fx-10.0")
      .startRam([{ name: "pc.ram", length: 2 * MIB }, ...blocks]);
    writer.ram(true, () => {
      for (let at = 0; at < 2 * MIB; at += PAGE) writer.zero("pc.ram", at);
      pages(writer);
    });
    pcDevices(writer, 2 * MIB, 0);
    devices(writer);
    writer.end();
  });

async function codes(bytes: Buffer): Promise<string[]> {
  const report = new Report("test");
  await verifyAs(qemuMigration, bytesSource(bytes), report);
  return report.findings.map(({ code }) => code);
}

const ranges = ({ memory }: GuestImage): string[] =>
  [...memory.ranges()].map(
    ({ start, end, presence }) => `${start.toString(16)}-${end.toString(16)} ${presence}`,
  );

describe("virtio-mem", () => {
  const UNIT = 2 * MIB;
  const ADDRESS = 2 ** 32;
  const SIZE = 80 * UNIT;
  /** Units 1, 2 and 79 are plugged: words of 64 bits, the first unit in the lowest. */
  const bitmap = Buffer.concat([u64(0b110), u64(2 ** 15)]);
  const saved = (plugged: number): Buffer =>
    machine({
      blocks: [{ name: "0000:00:01.0/vm0", length: SIZE }],
      pages(writer) {
        for (const unit of [1, 2, 79])
          for (let at = unit * UNIT; at < (unit + 1) * UNIT; at += PAGE) {
            if (at % UNIT === 0) writer.plain("0000:00:01.0/vm0", at, page(unit));
            else writer.zero("0000:00:01.0/vm0", at);
          }
      },
      devices(writer) {
        const node = Buffer.alloc(4);
        const state = [u64(ADDRESS), u64(SIZE), u64(UNIT), node, u64(SIZE), u64(plugged), u64(SIZE), bitmap];
        writer.device("0000:00:01.0/virtio-mem", [
          buffer("virtio", virtio(...state, Buffer.alloc(9)), "virtio"),
        ]);
      },
    });

  it("plugged parts lie where the device says, the others are no memory", async () => {
    const bytes = saved(3 * UNIT);
    expect(await codes(bytes)).toEqual([]);
    const guest = await openStream(bytesSource(bytes), {});
    expect(guest.warnings).toEqual([]);
    expect(ranges(guest)).toEqual([
      "0-200000 zero",
      "100200000-100201000 present",
      "100201000-100400000 zero",
      "100400000-100401000 present",
      "100401000-100600000 zero",
      "109e00000-109e01000 present",
      "109e01000-10a000000 zero",
    ]);
    const byte = new Uint8Array(1);
    for (const unit of [1, 2, 79]) {
      await guest.memory.read(ADDRESS + unit * UNIT, byte);
      expect(byte[0]).toBe(unit);
    }
  });

  it("a state whose sums don't agree is none", async () => {
    const bytes = saved(4 * UNIT);
    expect(await codes(bytes)).toEqual(["qevm/ram/missing-pages"]);
    expect(ranges(await openStream(bytesSource(bytes), {}))).toEqual(["0-200000 zero"]);
  });
});

describe("virtio-mem of machine types since 8.0", () => {
  const UNIT = 2 * MIB;
  const ADDRESS = 2 ** 32;
  const BLOCK = "0000:00:03.0/plug";
  const SIZE = 128 * UNIT;
  /** As QEMU 11.1 saves it (units 0 to 34 of 128 are plugged, 70 MiB), with a hole at unit 3. */
  const bitmap = Buffer.from("00000007fffffff70000000000000000", "hex");
  const early = (plugged: number): Parameters<QevmWriter["device"]> => [
    "0000:00:03.0/virtio-mem-device-early",
    [
      buffer("addr", u64(ADDRESS), "uint64"),
      buffer("region_size", u64(SIZE), "uint64"),
      buffer("block_size", u64(UNIT), "uint64"),
      buffer("node", Buffer.alloc(4), "uint32"),
      buffer("size", u64(plugged), "uint64"),
      buffer("bitmap", bitmap, "bitmap"),
    ],
  ];
  const saved = (plugged: number): Buffer =>
    collect((writer) => {
      writer.header().configuration("pc-q35-8.0");
      writer.device(...early(plugged));
      writer.startRam([
        { name: BLOCK, length: SIZE },
        { name: "pc.ram", length: 2 * MIB },
      ]);
      writer.ram(true, () => {
        for (let at = 0; at < 35 * UNIT; at += PAGE)
          if (Math.floor(at / UNIT) !== 3) {
            if (at % UNIT === 0) writer.plain(BLOCK, at, page(at / UNIT + 1));
            else writer.zero(BLOCK, at);
          }
        for (let at = 0; at < 2 * MIB; at += PAGE) writer.zero("pc.ram", at);
      });
      pcDevices(writer, 2 * MIB, 0);
      writer.end();
    });

  it("its section before RAM says what is plugged and where", async () => {
    const bytes = saved(34 * UNIT);
    expect(await codes(bytes)).toEqual([]);
    const guest = await openStream(bytesSource(bytes), {});
    expect(guest.unplaced).toBeUndefined();
    const above = [...guest.memory.ranges()].filter(({ start }) => start >= ADDRESS);
    expect(above[0]).toMatchObject({ start: ADDRESS, presence: "present" });
    expect(above.at(-1)?.end).toBe(ADDRESS + 35 * UNIT);
    expect(above.some(({ start, end }) => start < ADDRESS + 4 * UNIT && end > ADDRESS + 3 * UNIT)).toBe(
      false,
    );
    const byte = new Uint8Array(1);
    for (const unit of [0, 2, 4, 34]) {
      await guest.memory.read(ADDRESS + unit * UNIT, byte);
      expect(byte[0]).toBe(unit + 1);
    }
  });

  it("a state whose sums don't agree is none: what was sent counts as absent and is refused", async () => {
    const guest = await openStream(bytesSource(saved(35 * UNIT)), {});
    expect(ranges(guest)).toEqual(["0-200000 zero"]);
    expect(guest.unplaced).toEqual([
      { name: BLOCK, size: 34 * UNIT, reason: expect.objectContaining({ kind: "no-address" }) },
    ]);
    await refuses(guest, 34 * UNIT);
  });
});

/** Extracting refuses a guest that lacks `absent` bytes, and writes the rest of it with `partial`. */
async function refuses(guest: GuestImage, absent: number): Promise<void> {
  const missing: string[] = [];
  const writer = await (OUTPUTS[0] as (typeof OUTPUTS)[number]).load({});
  const sink = (): never => {
    throw new Error("nothing may be written");
  };
  const result = await extractGuest(guest, writer, sink, {
    onMissing: (_guest, _ranges, unplaced) => missing.push(...unplaced.map(({ name }) => name)),
  });
  expect(result).toMatchObject({ written: false, absent });
  expect(missing).toEqual(guest.unplaced?.map(({ name }) => name));
  // a range all of which is known lacks nothing
  expect(selectMemory(guest, { start: 0, end: MIB })).toMatchObject({ absent: 0, unplaced: [] });
}

describe("DIMMs", () => {
  const saved = machine({
    blocks: [{ name: "memdimm0", length: 2 * PAGE }],
    pages(writer) {
      writer.plain("memdimm0", 0, page(1));
      writer.plain("memdimm0", PAGE, page(2));
    },
    devices: () => undefined,
  });
  const at4G = ["0-200000 zero", "100000000-100002000 present"];

  it("absent, as nothing tells their address", async () => {
    const guest = await openStream(bytesSource(saved), {});
    expect(ranges(guest)).toEqual(["0-200000 zero"]);
    expect(guest.warnings).toEqual([expect.stringMatching(/'memdimm0' has no address in the stream/)]);
    await refuses(guest, 2 * PAGE);
  });

  it("given addresses place them beside what is known", async () => {
    const guest = await openStream(bytesSource(saved), {
      qemu: { map: [{ block: "memdimm0", address: 2 ** 32 }] },
    });
    expect(ranges(guest)).toEqual(at4G);
    expect(guest.warnings).toEqual([]);
    await expect(
      openStream(bytesSource(saved), { qemu: { map: [{ block: "memdimm0", address: 0x1000 }] } }),
    ).rejects.toThrow(/another block is there/);
  });

  it("the domain's XML places them", async () => {
    const guest = await openStream(
      bytesSource(saved),
      {},
      { start: 0, origin: "test", domain: { devices: [{ id: "memdimm0", address: 2 ** 32 }] } },
    );
    expect(ranges(guest)).toEqual(at4G);
  });
});

describe("memory of displays", () => {
  const display = (block: string, section: string, field: ReturnType<typeof buffer>): Promise<GuestImage> =>
    openStream(
      bytesSource(
        machine({
          blocks: [{ name: block, length: PAGE }],
          pages: (writer) => writer.plain(block, 0, page(7)),
          devices: (writer) => writer.device(section, [field]),
        }),
      ),
      {},
    );
  const shown = "e0000000-e0001000 present";

  it.each([
    ["0000:00:02.0/vga.vram", "0000:00:02.0/vga", config(0x1234, { 0: 0xe0000008 })],
    ["vga.vram", "0000:00:02.0/cirrus_vga", config(0x1013, { 0: 0xe0000008 })],
    ["0000:00:02.0/vga.vram", "0000:00:02.0/vmware_vga", config(0x15ad, { 0: 0xc001, 1: 0xe0000008 })],
    ["vmsvga.fifo", "0000:00:02.0/vmware_vga", config(0x15ad, { 0: 0xc001, 2: 0xe0000008 })],
    ["0000:00:02.0/qxl.vram", "0000:00:02.0/qxl", config(0x1b36, { 0: 0xd0000000, 1: 0xe0000008 })],
    ["0000:00:02.0/qxl.vrom", "0000:00:02.0/qxl", config(0x1b36, { 2: 0xe0000000 })],
    ["0000:00:02.0/bochs-display-vram", "0000:00:02.0/bochs-display", config(0x1234, { 0: 0xe0000008 })],
    ["0000:00:02.0/vga.rom", "0000:00:02.0/vga", config(0x1234, { 8: 0xe0000001 })],
  ])("%s of %s", async (block, section, bytes) => {
    const guest = await display(block, section, buffer("config", bytes, "pci config"));
    expect(ranges(guest)).toContain(shown);
  });

  it("a virtio display's configuration stands in virtio's own form", async () => {
    const bytes = Buffer.concat([
      Buffer.from([0, 0, 0, 2]),
      config(0x1af4, { 0: 0xe0000008 }),
      Buffer.alloc(50),
    ]);
    const guest = await display(
      "0000:00:02.0/vga.vram",
      "0000:00:02.0/virtio-gpu",
      buffer("virtio", bytes, "virtio"),
    );
    expect(ranges(guest)).toContain(shown);
  });

  it("a BAR into RAM is not believed; a device that isn't there is said", async () => {
    const into = config(0x1234, { 0: 0x100000 });
    const guest = await display(
      "0000:00:02.0/vga.vram",
      "0000:00:02.0/vga",
      buffer("config", into, "pci config"),
    );
    expect(guest.warnings).toEqual([expect.stringMatching(/points into other memory/)]);
    const other = await display(
      "0000:00:02.0/vga.vram",
      "0000:00:03.0/vga",
      buffer("config", into, "pci config"),
    );
    expect(other.warnings).toEqual([expect.stringMatching(/lacks its device/)]);
  });
});
