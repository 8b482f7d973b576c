import { verifyAs } from "../../verify-as.js";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { memoryTotals } from "../../../src/guest/memory.js";
import { bytesSource, streamOf } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import { SpoolFile } from "../../../src/io/node/output.js";
import { libvirtQemuSave } from "../../../src/qemu/libvirt/format.js";
import { saveHeader } from "../../../src/qemu/libvirt/layout.js";
import type { QevmInspection } from "../../../src/qemu/migration/inspect.js";
import { hasProgram, scratch, skipUnless, unzstd } from "../../shared.js";
import { crc32, noSamples, printedRegisters, saves, unpackSample } from "../migration/samples.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const SAMPLES = ["raw.save", "gzip.save", "zstd-made.save"];
const unpack = (name: string): string => unzstd(path.join(saves, `${name}.zst`), folder);

function open(file: string, partial = false): Promise<GuestImage> {
  const openSpool = (): SpoolFile => new SpoolFile(folder);
  return libvirtQemuSave.reader.openGuest(openFile(file), { openSpool, partial });
}

async function verdict(bytes: Uint8Array, pipe = false): Promise<string[]> {
  const report = new Report("save");
  const source = bytesSource(bytes);
  await verifyAs(libvirtQemuSave, pipe ? streamOf(source) : source, report);
  return report.findings.map(({ code }) => code);
}

/** Every RAM segment of QEMU's own ELF dump. */
function* segments(elf: Buffer): Iterable<{ gpa: number; bytes: Buffer }> {
  const offset = Number(elf.readBigUInt64LE(32));
  for (let i = 0; i < elf.readUInt16LE(56); i += 1) {
    const at = offset + i * 56;
    if (elf.readUInt32LE(at) !== 1) continue;
    const from = Number(elf.readBigUInt64LE(at + 8));
    const size = Number(elf.readBigUInt64LE(at + 32));
    yield { gpa: Number(elf.readBigUInt64LE(at + 24)), bytes: elf.subarray(from, from + size) };
  }
}

async function sameAsReference(guest: GuestImage): Promise<number> {
  const elf = fs.readFileSync(
    unzstd(path.join(saves, "ref.elf.patch.zst"), folder, { patchFrom: unpack("raw.save") }),
  );
  const page = new Uint8Array(4096);
  let equal = 0;
  for (const { gpa, bytes } of segments(elf))
    for (let at = 0; at < bytes.length; at += 4096) {
      const n = await guest.memory.read(gpa + at, page);
      if (n === 4096 && Buffer.compare(page, bytes.subarray(at, at + 4096)) === 0) equal += 1;
    }
  return equal;
}

describe.skipIf(noSamples)("libvirt save files", () => {
  let raw = Buffer.alloc(0);
  beforeAll(() => {
    raw = fs.readFileSync(unpack("raw.save"));
  });

  /** The raw sample in another form. */
  const changed = (
    change: (header: ReturnType<typeof saveHeader.decode>) => void,
    stream?: Uint8Array,
  ): Buffer => {
    const header = saveHeader.decode(raw, "little");
    const data = raw.subarray(saveHeader.size, saveHeader.size + header.dataLength);
    const rest = stream ?? raw.subarray(saveHeader.size + header.dataLength);
    change(header);
    return Buffer.concat([saveHeader.encode(header, "little"), data, rest]);
  };
  const stored = (name: string, bytes: Uint8Array): string => {
    const file = path.join(folder, name);
    fs.writeFileSync(file, bytes);
    return file;
  };
  const streamOfRaw = (): Buffer => raw.subarray(67425);

  it.each(SAMPLES)("%s: pages equal the reference, registers what was printed", async (name) => {
    const guest = await open(unpack(name));
    expect(await sameAsReference(guest)).toBe(3088);
    expect(memoryTotals(guest.memory).absent).toBe(0);
    const printed = printedRegisters(path.join(saves, "registers.txt"));
    expect(guest.vcpus.length).toBe(2);
    for (const [i, values] of printed.entries()) {
      const registers = guest.vcpus[i]?.registers;
      if (registers?.kind !== "x86") throw new Error("no registers");
      for (const name of ["rax", "rsp", "rip", "r15"] as const)
        expect(registers.general[name]).toBe(BigInt(`0x${values.get(name.toUpperCase())}`));
    }
    expect(guest.facts).toMatchObject({
      name: "tiny-lv",
      uuid: "7d1c2f0e-5a0b-4c57-9a44-0123456789ab",
      guestType: "pc-i440fx-10.0",
    });
    expect(guest.warnings).toEqual([]);
    await guest.close?.();
  });

  it.each(SAMPLES)("%s: valid from a file and a pipe; inspected", async (name) => {
    const bytes = fs.readFileSync(unpack(name));
    expect(await verdict(bytes)).toEqual([]);
    expect(await verdict(bytes, true)).toEqual([]);
    const found = (await libvirtQemuSave.reader.inspect(bytesSource(bytes), {})) as QevmInspection;
    expect(found.details.complete).toBe(true);
    expect(found.details.devices.length).toBeGreaterThan(25);
    expect(found.details.envelope).toMatchObject({
      libvirt: {
        wasRunning: name === "gzip.save",
        hasCookie: true,
        domain: { memory: 12 << 20, vcpus: 2, machine: "pc-i440fx-10.0" },
      },
    });
  });

  it.each([
    ["bzip2", 2],
    ["xz", 3],
    ["lzop", 4],
  ] as const)("%s", async (program, code) => {
    if (skipUnless(hasProgram(program), program)) return;
    const packed = execFileSync(program, ["-c"], { input: streamOfRaw(), maxBuffer: 1 << 28 });
    const guest = await open(
      stored(
        `${program}.save`,
        changed((header) => (header.compressed = code), packed),
      ),
    );
    expect(await sameAsReference(guest)).toBe(3088);
    await guest.close?.();
  });

  it("version 1, and a big-endian host", async () => {
    const old = changed((header) => {
      header.version = 1;
      header.cookieOffset = 0;
    });
    expect(await verdict(old)).toEqual([]);
    const header = saveHeader.decode(raw, "little");
    const big = Buffer.concat([saveHeader.encode(header, "big"), raw.subarray(saveHeader.size)]);
    expect(await verdict(big)).toEqual([]);
  });

  it("sparse: places count from the file's begin or from the stream's", async () => {
    const stream = fs.readFileSync(unpackSample("tiny-mapped10", folder));
    const inner = changed((header) => (header.compressed = 6), stream);
    expect(await verdict(inner)).toEqual([]);
    const guest = await open(stored("sparse.save", inner));
    expect(memoryTotals(guest.memory)).toMatchObject({ absent: 0 });
    const page = new Uint8Array(4096);
    // page 0 of the tiny guests
    expect(await guest.memory.read(0x2000, page)).toBe(4096);
    const bare = Buffer.alloc(4096);
    fs.readSync(fs.openSync(unpackSample("tiny-mapped10", folder), "r"), bare, 0, 4096, (1 << 20) + 0x2000);
    expect(Buffer.compare(page, bare)).toBe(0);
    expect(crc32(page)).not.toBe(0);
  });

  it("an unfinished save is refused, and read with --partial", async () => {
    const part = changed((header) => (header.magic = "LibvirtQemudPart"));
    expect(libvirtQemuSave.matches(part)).toBe(true);
    expect(await verdict(part)).toEqual(["libvirt-save/unfinished"]);
    const file = stored("part.save", part.subarray(0, 6_000_000));
    await expect(open(file)).rejects.toMatchObject({ code: "libvirt-save/unfinished" });
    const guest = await open(file, true);
    expect(await sameAsReference(guest)).toBeGreaterThan(1000);
    expect(memoryTotals(guest.memory).absent).toBeGreaterThan(0);
  });

  it("damaged headers", async () => {
    expect(await verdict(changed((header) => (header.version = 3)))).toEqual(["libvirt-save/version"]);
    expect(await verdict(changed((header) => (header.compressed = 9)))).toEqual(["libvirt-save/compression"]);
    expect(await verdict(changed((header) => (header.wasRunning = 7)))).toEqual(["libvirt-save/was-running"]);
    expect(await verdict(changed((header) => (header.dataLength = 0xffffffff)))).toEqual([
      "libvirt-save/truncated",
    ]);
    expect(await verdict(changed((header) => (header.cookieOffset = 1 << 30)))).toEqual([
      "libvirt-save/cookie",
    ]);
    const xml = changed(() => undefined);
    xml[100] = "<".charCodeAt(0);
    expect(await verdict(xml)).toEqual(["libvirt-save/xml"]);
    const moved = await verdict(changed((header) => (header.dataLength -= 1)));
    expect(moved.slice(0, 2)).toEqual(["libvirt-save/damaged-head", "qevm/header/magic"]);
  });

  it("a cut or damaged compressed stream", async () => {
    const packed = zlib.gzipSync(streamOfRaw(), { level: 1 });
    const whole = (stream: Uint8Array): Buffer => changed((header) => (header.compressed = 1), stream);
    const cut = whole(packed.subarray(0, packed.length >> 1));
    expect(await verdict(cut)).toEqual(
      expect.arrayContaining(["libvirt-save/compressed-data", "qevm/truncated"]),
    );
    await expect(open(stored("cut.save", cut))).rejects.toThrow();
    const guest = await open(stored("cut2.save", cut), true);
    expect(memoryTotals(guest.memory).absent).toBeGreaterThan(0);
    await guest.close?.();
  });

  it("every prefix of the header and XML", async () => {
    for (let length = 0; length < 200; length += 7)
      expect((await verdict(raw.subarray(0, length)))[0]).toBe("libvirt-save/truncated");
  });
});
