import { verifyAs } from "../verify-as.js";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { viewOf } from "../../src/binary/layout.js";
import { Report } from "../../src/findings/report.js";
import type { GuestImage } from "../../src/guest/image.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { elfVmcore } from "../../src/vmcore/elf/format.js";
import { elfWriter } from "../../src/vmcore/elf/write.js";
import { FlattenedSource } from "../../src/vmcore/kdump/flattened.js";
import { kdump } from "../../src/vmcore/kdump/format.js";
import { header32, subHeader32, subHeader32Aligned } from "../../src/vmcore/kdump/layout.js";
import { createKdumpWriter } from "../../src/vmcore/kdump/write.js";
import { rawWriter } from "../../src/vmcore/raw/write.js";
import { fixtures, hasProgram, scratch, skipUnless } from "../shared.js";
import { MemoryFile } from "./model.js";

/** QEMU's dumps of tiny guests of other architectures, with what QEMU said of their registers and memory. */
const machines = path.join(fixtures, "vmcore/machines");
const NAMES = ["arm", "aarch64", "ppc64", "s390x", "i386"] as const;
type Name = (typeof NAMES)[number];
const FORMATS = { elf: elfVmcore, flat: kdump };
const BITS: Readonly<Record<Name, 32 | 64>> = { arm: 32, aarch64: 64, ppc64: 64, s390x: 64, i386: 32 };
const { folder, cleanup } = scratch();
afterAll(cleanup);

interface Truth {
  readonly start: number;
  readonly size: number;
  readonly sha256: string;
  readonly registers: readonly string[];
}

const truthOf = (name: Name): Truth =>
  JSON.parse(fs.readFileSync(path.join(machines, `${name}.json`), "utf8")) as Truth;
const fixture = (name: Name, form: keyof typeof FORMATS): Uint8Array =>
  new Uint8Array(zlib.gunzipSync(fs.readFileSync(path.join(machines, `${name}.${form}.gz`))));

async function open(bytes: Uint8Array, form: keyof typeof FORMATS): Promise<GuestImage> {
  const guest = await FORMATS[form].reader.openGuest(bytesSource(bytes, "fixture"), {});
  if (guest === undefined) throw new Error("no openGuest");
  return guest;
}

async function memoryOf(guest: GuestImage, { start, size }: Truth): Promise<string> {
  const bytes = new Uint8Array(size);
  expect(await guest.memory.read(start, bytes)).toBe(size);
  return createHash("sha256").update(bytes).digest("hex");
}

/** Registers of processor 0 by the names that QEMU prints: `NAME=VALUE` or `NAME VALUE`, hexadecimal. */
function printed(lines: readonly string[]): Map<string, bigint> {
  const end = lines.findIndex((line) => /^CPU#1/.test(line));
  const text = lines.slice(0, end < 0 ? undefined : end).join(" ");
  const found = new Map<string, bigint>();
  for (const [, name = "", value = ""] of text.matchAll(/\b([A-Za-z]+\d*) ?= ?([0-9a-f]{8,16})\b/g))
    found.set(name, BigInt(`0x${value}`));
  for (const [, name = "", value = ""] of text.matchAll(/\b(NIP|LR|CTR|MSR|XER|CR) ([0-9a-f]{8,16})\b/g))
    found.set(name, BigInt(`0x${value}`));
  // ppc64 prints four in a row behind the first one's name
  for (const [, first = "", values = ""] of text.matchAll(/GPR(\d\d)((?: [0-9a-f]{16}){4})/g))
    for (const [i, value] of values.trim().split(" ").entries())
      found.set(`GPR${Number(first) + i}`, BigInt(`0x${value}`));
  const psw = /mask ([0-9a-f]{16}) addr ([0-9a-f]{16})/.exec(text);
  if (psw !== null) found.set("mask", BigInt(`0x${psw[1]}`)).set("addr", BigInt(`0x${psw[2]}`));
  return found;
}

/** The model's registers under the same names. */
function named(guest: GuestImage): Map<string, bigint> {
  const registers = guest.vcpus[0]?.registers;
  const two = (i: number): string => String(i).padStart(2, "0");
  if (registers?.kind === "aarch64") {
    const x = registers.x.map((value, i) => [`X${two(i)}`, value] as const);
    return new Map([...x, ["PC", registers.pc], ["SP", registers.sp], ["PSTATE", registers.pstate]]);
  }
  if (registers?.kind === "x86") {
    const names = { EAX: "rax", EBX: "rbx", ECX: "rcx", EDX: "rdx", ESI: "rsi", EDI: "rdi" } as const;
    const more = { EBP: "rbp", ESP: "rsp", EIP: "rip", EFL: "rflags" } as const;
    return new Map([
      ...Object.entries({ ...names, ...more }).map(([k, v]) => [k, registers.general[v]] as const),
      ...["0", "2", "3", "4"].map((n) => [`CR${n}`, registers.control[`cr${n}`] ?? -1n] as const),
    ]);
  }
  if (registers === undefined) return new Map();
  const renamed = Object.entries(registers.named).map(([name, value]) => {
    const numbered = /^r(\d+)$/.exec(name)?.[1];
    if (numbered !== undefined)
      return [guest.arch.name === "ppc64" ? `GPR${numbered}` : `R${two(Number(numbered))}`, value] as const;
    const others: Readonly<Record<string, string>> = { cpsr: "PSR", psw_mask: "mask", psw_addr: "addr" };
    return [others[name] ?? name.toUpperCase(), value] as const;
  });
  return new Map(renamed);
}

describe.each(NAMES)("a dump of %s by QEMU", (name) => {
  const truth = truthOf(name);

  it.each(["elf", "flat"] as const)("%s: memory, registers, nothing to find", async (form) => {
    const bytes = fixture(name, form);
    const report = new Report("fixture");
    await verifyAs(FORMATS[form], bytesSource(bytes), report);
    expect(report.findings.filter(({ severity }) => severity !== "note")).toEqual([]);
    const guest = await open(bytes, form);
    expect(guest.arch).toMatchObject({ name, bits: BITS[name] });
    expect(await memoryOf(guest, truth)).toBe(truth.sha256);
    const ours = named(guest);
    const theirs = printed(truth.registers);
    const shared = [...ours.keys()].filter((register) => theirs.has(register));
    expect(shared.length).toBeGreaterThanOrEqual(14);
    for (const register of shared) expect(ours.get(register), register).toBe(theirs.get(register));
    expect([...ours.values()].some((value) => value !== 0n)).toBe(true);
    expect(guest.vcpus).toHaveLength(2);
  });

  it("goes through every writer and comes back the same, all notes of its processors with it", async () => {
    const guest = await open(fixture(name, "flat"), "flat");
    const elf = new MemoryFile();
    await elfWriter.write(guest, elf, {});
    const packed = new MemoryFile();
    await createKdumpWriter().write(guest, packed, { compress: "zlib" });
    for (const [form, file] of [["elf", elf] as const, ["flat", packed] as const]) {
      const back = await open(file.bytes(), form);
      expect(back.arch).toEqual(guest.arch);
      expect(await memoryOf(back, truth), form).toBe(truth.sha256);
      expect(back.vcpus, form).toEqual(guest.vcpus);
      expect(Array.from(back.memory.ranges(), ({ start, end }) => ({ start, end }))).toEqual(
        Array.from(guest.memory.ranges(), ({ start, end }) => ({ start, end })),
      );
    }
    const raw = new MemoryFile();
    const range = { start: truth.start, end: truth.start + truth.size };
    await rawWriter.write(guest, raw, { range });
    const found = createHash("sha256").update(raw.bytes().subarray(-truth.size)).digest("hex");
    expect(found).toBe(truth.sha256);
  });

  it.skipIf(skipUnless(hasProgram("readelf"), "readelf"))("what is written, readelf takes", async () => {
    const file = path.join(folder, `${name}.elf`);
    const sink = new MemoryFile();
    await elfWriter.write(await open(fixture(name, "elf"), "elf"), sink, {});
    fs.writeFileSync(file, sink.bytes());
    const { stdout, stderr } = spawnSync("readelf", ["-hlnW", file], { encoding: "utf8" });
    expect(stderr).not.toMatch(/error|warning/i);
    expect(stdout.match(/NT_PRSTATUS/g)).toHaveLength(2);
    const machine = { arm: "ARM", aarch64: "AArch64", ppc64: "PowerPC64", s390x: "IBM S/390", i386: "80386" };
    expect(stdout).toMatch(new RegExp(`Class: +ELF${BITS[name]}[^]*Machine: .*${machine[name]}`));
  });
});

it("a sub-header that aligns to 8 bytes, as ARM's makedumpfile has it, is told from the packed one", async () => {
  const source = await FlattenedSource.open(bytesSource(fixture("arm", "flat")));
  const packed = new Uint8Array(source.size);
  await source.read(0, packed);
  const block = 4096;
  const fields = subHeader32.decode(packed.subarray(block), "little");
  const shift = subHeader32Aligned.size - subHeader32.size;
  const none = new Uint8Array(0);
  const padding = { padding: none, padding_note: none, padding_eraseinfo: none, padding_frames: none };
  const notes = packed.slice(fields.offset_note, fields.offset_note + fields.size_note);
  for (const version of [6, 5]) {
    const aligned = packed.slice();
    aligned.fill(0, block, 2 * block);
    const moved = { ...fields, ...padding, offset_note: fields.offset_note + shift };
    aligned.set(subHeader32Aligned.encode(moved, "little"), block);
    aligned.set(notes, fields.offset_note + shift);
    viewOf(aligned).setInt32(header32.offsetOf("header_version"), version, true);
    const guest = await open(aligned, "flat");
    expect(await memoryOf(guest, truthOf("arm"))).toBe(truthOf("arm").sha256);
    expect(guest.vcpus).toEqual((await open(packed, "flat")).vcpus);
  }
});

it("what makedumpfile erased is told", async () => {
  const sink = new MemoryFile();
  await createKdumpWriter().write(await open(fixture("i386", "flat"), "flat"), sink, {});
  const bytes = sink.bytes();
  const text = Buffer.from("erase jiffies size 8\n");
  const at = bytes.length;
  const fields = subHeader32.decode(bytes.subarray(4096), "little");
  bytes.set(
    subHeader32.encode({ ...fields, offset_eraseinfo: at, size_eraseinfo: text.length }, "little"),
    4096,
  );
  const file = Uint8Array.from(Buffer.concat([bytes, text]));
  const guest = await open(file, "flat");
  expect(guest.warnings).toEqual(["its writer erased part of the memory: erase jiffies size 8"]);
  const report = new Report("erased");
  await verifyAs(kdump, bytesSource(file), report);
  expect(report.findings).toMatchObject([{ code: "kdump/erased", offset: at }]);
  // and goes on to what is made of it
  const [elf, again] = [new MemoryFile(), new MemoryFile()];
  await elfWriter.write(guest, elf, {});
  await createKdumpWriter().write(await open(elf.bytes(), "elf"), again, {});
  expect((await open(again.bytes(), "flat")).warnings).toEqual(guest.warnings);
});

const python = "/usr/bin/python3";
const hasKdumpfile = spawnSync(python, ["-c", "import kdumpfile"]).status === 0;

it.skipIf(skipUnless(hasKdumpfile, "python3-libkdumpfile"))(
  "libkdumpfile reads the kdumps of all of them",
  async () => {
    const script = `
import sys, hashlib, kdumpfile
for file, start, size in (line.split() for line in sys.stdin):
    ctx = kdumpfile.kdumpfile(file)
    print(hashlib.sha256(ctx.read(kdumpfile.KDUMP_MACHPHYSADDR, int(start), int(size))).hexdigest())
`;
    const input: string[] = [];
    for (const name of NAMES) {
      const file = path.join(folder, `${name}.kdump`);
      const sink = new MemoryFile();
      await createKdumpWriter().write(await open(fixture(name, "flat"), "flat"), sink, { compress: "zlib" });
      fs.writeFileSync(file, sink.bytes());
      const { start, size } = truthOf(name);
      input.push(`${file} ${start} ${size}`);
    }
    const out = execFileSync(python, ["-c", script], { input: input.join("\n"), encoding: "utf8" });
    expect(out.trim().split("\n")).toEqual(NAMES.map((name) => truthOf(name).sha256));
  },
);
