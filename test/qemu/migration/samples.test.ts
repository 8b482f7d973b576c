import { verifyAs } from "../../verify-as.js";
import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import type { QemuOptions } from "../../../src/guest/options.js";
import { memoryTotals } from "../../../src/guest/memory.js";
import { bytesSource, streamOf, type ByteSource, type ByteStream } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import { qemuMigration } from "../../../src/qemu/migration/format.js";
import type { QevmInspection } from "../../../src/qemu/migration/inspect.js";
import { scratch } from "../../shared.js";
import {
  crc32,
  gpaMap,
  groundTruth,
  noSamples,
  expectX86,
  printedRegisters,
  sampleFile,
  unpackSample,
} from "./samples.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const WHOLE = ["tiny-pc2", "tiny-arm", "tiny-numa", "tiny-live", "tiny-compress", "tiny-mapped10"];

function open(name: string, qemu: QemuOptions = {}, partial = false): Promise<GuestImage> {
  return qemuMigration.reader.openGuest(openFile(unpackSample(name, folder)), {
    qemu,
    partial,
  });
}

/** Pages of a guest against the ground truth: how many are equal, missing, or wrong. */
async function compare(guest: GuestImage, name: string): Promise<Record<string, number>> {
  const truth = groundTruth(name);
  const page = new Uint8Array(4096);
  const found = { equal: 0, missing: 0, wrong: 0 };
  for (const { gpa, size, block, offset, kind } of gpaMap(name)) {
    // flash is no RAM of QEMU's own dumps
    if (kind === "romd") continue;
    for (let at = 0; at < size; at += 4096) {
      const expected = truth.get(block)?.[(offset + at) / 4096];
      const n = await guest.memory.read(gpa + at, page);
      if (n === 0 && expected === undefined) found.missing += 1;
      else if (n === 4096 && crc32(page) === expected) found.equal += 1;
      else found.wrong += 1;
    }
  }
  return found;
}

const PAGES: Record<string, number> = {
  "tiny-pc2": 3088,
  "tiny-arm": 2048,
  "tiny-numa": 2064,
  "tiny-live": 2064,
  "tiny-compress": 2064,
  "tiny-mapped10": 3088,
};

describe.skipIf(noSamples)("saved QEMU guests", () => {
  it.each(WHOLE)("%s: every guest-physical page", async (name) => {
    const guest = await open(name);
    expect(await compare(guest, name)).toEqual({ equal: PAGES[name], missing: 0, wrong: 0 });
    const totals = memoryTotals(guest.memory);
    expect(totals.present + totals.zero).toBe((PAGES[name] ?? 0) * 4096);
    expect(totals.absent).toBe(0);
    expect(guest.warnings).toEqual([]);
  });

  it.each(WHOLE)("%s: pieces hold what single reads give", async (name) => {
    const guest = await open(name);
    let length = 0;
    for await (const piece of guest.memory.pieces()) {
      length += piece.length;
      const last = new Uint8Array(4096);
      const at = piece.length - 4096;
      expect(await guest.memory.read(piece.gpa + at, last)).toBe(4096);
      const same = piece.bytes === undefined ? new Uint8Array(4096) : piece.bytes.subarray(at);
      expect(Buffer.compare(last, same)).toBe(0);
    }
    expect(length).toBe((PAGES[name] ?? 0) * 4096);
  });

  it.each(WHOLE.filter((name) => name !== "tiny-arm"))("%s: x86 registers", async (name) => {
    const { vcpus, arch } = await open(name);
    const printed = printedRegisters(sampleFile(name, "registers.txt"));
    expect(arch.name).toBe("x86_64");
    expect(vcpus.length).toBe(printed.length);
    expectX86(vcpus, printed);
  });

  it("tiny-arm: aarch64 registers", async () => {
    const { vcpus, arch } = await open("tiny-arm");
    expect(arch.name).toBe("aarch64");
    expect(vcpus.length).toBe(2);
    for (const [i, values] of printedRegisters(sampleFile("tiny-arm", "registers.txt")).entries()) {
      const registers = vcpus[i]?.registers;
      if (registers?.kind !== "aarch64") throw new Error("no aarch64 registers");
      expect(registers.x.length).toBe(31);
      for (const [n, value] of registers.x.entries())
        expect(value).toBe(BigInt(`0x${values.get(`X${String(n).padStart(2, "0")}`)}`));
      expect(registers.pc).toBe(BigInt(`0x${values.get("PC")}`));
      expect(registers.pstate.toString(16)).toBe(values.get("PSTATE"));
      expect(Object.keys(registers.system)).toContain("ttbr1_el1");
      expect(registers.system["sctlr_el1"]).toBeGreaterThan(0n);
    }
  });

  it("tiny-numa: the order of nodes from the SRAT, not from the block list", async () => {
    const { facts } = await open("tiny-numa");
    expect(facts.specific).toMatchObject({ ramBlocks: ["n0", "n1"] });
  });

  it("tiny-numa: at addresses given, split as the machine splits", async () => {
    const at = (block: string, address: number): { block: string; address: number } => ({ block, address });
    const guest = await open("tiny-numa", { map: [at("n0", 0), at("n1", 0x30_0000)] });
    expect(await compare(guest, "tiny-numa")).toEqual({ equal: 2064, missing: 0, wrong: 0 });
    await expect(open("tiny-numa", { map: [at("n0", 0), at("n1", 0x10_0000)] })).rejects.toThrow(
      /another block/,
    );
    await expect(open("tiny-numa", { map: [at("n7", 0)] })).rejects.toThrow(/'n7'.*no such block/);
    await expect(open("tiny-numa", { map: [at("n0", 1)] })).rejects.toThrow(/multiple of a page/);
  });

  it("blocks as they are, without a machine's map", async () => {
    const guest = await open("tiny-pc2", { blocks: ["pc.bios", "pc.ram"] });
    const truth = groundTruth("tiny-pc2");
    const expected = [...(truth.get("pc.bios") ?? []), ...(truth.get("pc.ram") ?? [])];
    const page = new Uint8Array(4096);
    for (const [i, crc] of expected.entries()) {
      expect(await guest.memory.read(i * 4096, page)).toBe(4096);
      expect(crc32(page)).toBe(crc);
    }
    expect(await guest.memory.read(expected.length * 4096, page)).toBe(0);
    await expect(open("tiny-pc2", { blocks: ["nothing"] })).rejects.toThrow(/no RAM block 'nothing'/);
  });

  it("tiny-cut: refused; with --partial exactly the missing pages are absent", async () => {
    await expect(open("tiny-cut")).rejects.toMatchObject({ code: "qevm/truncated" });
    const guest = await open("tiny-cut", {}, true);
    expect(await compare(guest, "tiny-cut")).toMatchObject({ equal: 1149 });
    const page = new Uint8Array(4096);
    let missing = 0;
    for (const { gpa, size } of gpaMap("tiny-cut"))
      for (let at = 0; at < size; at += 4096)
        if ((await guest.memory.read(gpa + at, page)) === 0) missing += 1;
    expect(missing).toBe(915);
    expect(memoryTotals(guest.memory).absent).toBe(915 * 4096);
    expect(guest.warnings.join("\n")).toContain("block 'pc.ram': 851 of 2048 pages are not in the stream");
  });

  it.each([...WHOLE, "tiny-cut"])("%s: a file and a pipe give the same findings", async (name) => {
    const file = unpackSample(name, folder);
    const codes = async (input: ByteSource | ByteStream): Promise<string[]> => {
      const report = new Report(name);
      await verifyAs(qemuMigration, input, report);
      return report.findings.map(({ code, offset, message }) => `${code} ${offset} ${message}`);
    };
    const fromFile = await codes(openFile(file));
    const fromPipe = await codes(streamOf(bytesSource(fs.readFileSync(file), name)));
    expect(fromPipe).toEqual(fromFile);
    if (name === "tiny-cut") {
      expect(fromFile[0]).toMatch(/^qevm\/truncated 3958840 .* 3825 bytes short of the end of a page$/);
      expect(fromFile.length).toBe(7);
    } else expect(fromFile).toEqual([]);
  });

  it.each(WHOLE)("%s: inspection agrees with the sample's own account", async (name) => {
    const meta = JSON.parse(fs.readFileSync(sampleFile(name, "meta.json"), "utf8")) as {
      parsed: {
        configuration: { machine: string };
        blocks: Record<string, { length: number; sent_again: number; xbzrle: number }>;
        sections: { type: string; name?: string; offset: number; size?: number }[];
      };
    };
    const found = (await qemuMigration.reader.inspect(
      openFile(unpackSample(name, folder)),
      {},
    )) as QevmInspection;
    expect(found.details.configuration.machine).toBe(meta.parsed.configuration.machine);
    expect(found.details.complete).toBe(true);
    expect(found.damage).toEqual([]);
    for (const block of found.details.blocks) {
      expect(block.length).toBe(meta.parsed.blocks[block.name]?.length);
      expect(block.counts.xbzrle).toBe(meta.parsed.blocks[block.name]?.xbzrle);
      expect(block.counts.again).toBe(meta.parsed.blocks[block.name]?.sent_again);
    }
    const devices = meta.parsed.sections.filter(({ type }) => type === "FULL");
    expect(found.details.devices.length).toBe(devices.length);
    for (const device of devices)
      expect(found.details.sections).toContainEqual(
        expect.objectContaining({ name: device.name, offset: device.offset, size: device.size }),
      );
    expect(found.details.map.filter(({ block }) => block === undefined)).toEqual([]);
    const mapped = found.details.map.map(({ start, end, block }) => `${block} ${start} ${end}`);
    for (const { gpa, size, block, kind } of gpaMap(name))
      if (kind !== "romd") expect(mapped).toContain(`${block} ${gpa} ${gpa + size}`);
  });
});
