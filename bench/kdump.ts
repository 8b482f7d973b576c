import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { compressUsingDict, createCCtx, init } from "@bokuweb/zstd-wasm";
import {
  ehdr64,
  ELF_MAGIC,
  ELFCLASS64,
  ELFDATA2LSB,
  ET_CORE,
  NT_PRSTATUS,
  phdr64,
  PT_LOAD,
  PT_NOTE,
} from "../src/elf/layout.js";
import { encodeNote } from "../src/elf/notes.js";
import { X86_64 } from "../src/guest/arch/x86.js";
import { completeGeneral, type X86Registers } from "../src/guest/vcpu.js";
import { encodeQemu } from "../src/vmcore/notes.js";
import { encodePrstatus } from "../src/vmcore/prstatus.js";
import { record } from "./figures.js";
import { clearOutput, GUESTSCOPE, inMemory, recordPeak, secondsOf, timeShell } from "./harness.js";

const PAGE = 4096;
const MIB = 1 << 20;
const SIZE = 2048 * MIB;
/** The library gets its pages from memory, read before its clock runs. */
const READ = 64 * MIB;
/** A worker's buffers: four batches of pages, their packed forms, the library's own state. */
const WORKER_MIB = 40;
const BASE_MIB = 150;

/** Memory of a guest: half zeros, the rest texts, tables, numbers and noise, so that it packs to about a third. */
function fillGuest(file: string): void {
  const header = Buffer.alloc(PAGE);
  const notes = processorNotes();
  const ehdr = {
    e_ident: Uint8Array.of(...ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, 1),
    e_type: ET_CORE,
    e_machine: X86_64.machine,
    e_version: 1,
    e_entry: 0n,
    e_phoff: ehdr64.size,
    e_shoff: 0,
    e_flags: 0,
    e_ehsize: ehdr64.size,
    e_phentsize: phdr64.size,
    e_phnum: 2,
    e_shentsize: 0,
    e_shnum: 0,
    e_shstrndx: 0,
  };
  const notesAt = ehdr64.size + 2 * phdr64.size;
  const at = { p_flags: 0, p_vaddr: 0n, p_paddr: 0n, p_align: 0n };
  const note = { ...at, p_type: PT_NOTE, p_offset: notesAt, p_filesz: notes.length, p_memsz: notes.length };
  const load = { ...at, p_type: PT_LOAD, p_offset: PAGE, p_filesz: SIZE, p_memsz: SIZE };
  header.set(ehdr64.encode(ehdr, "little"));
  header.set(phdr64.encode(note, "little"), ehdr64.size);
  header.set(phdr64.encode(load, "little"), ehdr64.size + phdr64.size);
  header.set(notes, notesAt);
  const fd = fs.openSync(file, "w");
  fs.writeSync(fd, header, 0, PAGE, 0);
  const chunk = Buffer.alloc(MIB);
  for (let at = 0; at < SIZE; at += MIB) {
    for (let page = 0; page < MIB; page += PAGE)
      fillPage(chunk.subarray(page, page + PAGE), (at + page) / PAGE);
    if (at === 0) writeTables(chunk);
    fs.writeSync(fd, chunk, 0, MIB, PAGE + at);
  }
  fs.closeSync(fd);
}

/** Top table, its table, a directory whose first page of 2 MiB lies at 0: in pages that hold zeros else. */
const TABLES = [2 * PAGE, 4 * PAGE, 6 * PAGE] as const;
const RIP = 0xffff_8000_0000_1000n;

function writeTables(memory: Buffer): void {
  const [top, second, directory] = TABLES;
  memory.writeBigUInt64LE(BigInt(second) | 3n, top + 256 * 8);
  memory.writeBigUInt64LE(BigInt(directory) | 3n, second);
  memory.writeBigUInt64LE(0x83n, directory);
}

/** A processor that runs another kernel than Linux: of Linux, VMCOREINFO would be looked for in the memory. */
function processorNotes(): Buffer {
  const registers: X86Registers = {
    kind: "x86",
    general: completeGeneral({ rip: RIP }),
    segments: {},
    control: { cr0: 0x8000_0011n, cr3: BigInt(TABLES[0]), cr4: 0x20n },
    debug: {},
    msrs: {},
  };
  return Buffer.concat([
    encodeNote("CORE", NT_PRSTATUS, encodePrstatus({ id: 0, registers }, X86_64) ?? Buffer.of(), "little"),
    encodeNote("QEMU", 0, encodeQemu(registers), "little"),
  ]);
}

let seed = 1;
function next(): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return seed;
}

function fillPage(page: Buffer, frame: number): void {
  page.fill(0);
  if (frame % 2 === 0) return;
  const kind = (frame >> 1) % 4;
  for (let i = 0; i < PAGE; i += 8) {
    if (kind === 0) page.write(`k=${(next() % 9973).toString().padStart(5)},`, i, "latin1");
    else if (kind === 1) page.writeBigUInt64LE(0xffff_8880_0000_0000n + BigInt((next() % 65_536) * 64), i);
    else if (kind === 2) page.writeUInt32LE(next() % 300, i);
    else page.writeUInt32LE(next(), i);
  }
}

type Library = (page: Uint8Array) => Uint8Array;

/** The libraries as their users call them: windows of a page's size for zlib, one context for all pages for zstd. */
const LIBRARIES: Readonly<Record<"zlib" | "zstd", () => Promise<Library>>> = {
  zlib: async () => (page) => zlib.deflateSync(page, { level: 1, windowBits: 12 }),
  zstd: async () => {
    await init();
    const context = createCCtx();
    const none = new Uint8Array(0);
    return (page) => compressUsingDict(context, page, none, 1);
  },
};

/** Seconds that the library itself takes for the pages of `size` bytes that are not zero, in one thread. */
function librarySeconds(file: string, compress: Library, size: number): number {
  const pages = Buffer.alloc(READ);
  const fd = fs.openSync(file, "r");
  let seconds = 0;
  let packed = 0;
  for (let from = 0; from < size; from += READ) {
    fs.readSync(fd, pages, 0, READ, PAGE + from);
    const began = performance.now();
    for (let at = PAGE; at < READ; at += 2 * PAGE) packed += compress(pages.subarray(at, at + PAGE)).length;
    seconds += (performance.now() - began) / 1000;
  }
  fs.closeSync(fd);
  // noise keeps its size, so an eighth of memory is the least
  if (packed < size / 8) throw new Error(`bench: the library packed to ${packed} bytes`);
  return seconds;
}

/** What the report says of this bench, and programs that it compares with. */
export const title = "kdump-compressed dumps written by worker threads, against the compression libraries.";
export const peers = ["makedumpfile"];

/** kdump writing against what the compression library does alone in one thread. */
export async function run(): Promise<void> {
  const cores = os.availableParallelism();
  await inMemory(async (folder) => {
    const elf = path.join(folder, "guest.elf");
    fillGuest(elf);
    for (const name of ["zlib", "zstd"] as const) {
      const compress = await LIBRARIES[name]();
      // once unmeasured: compiled and warm
      librarySeconds(elf, compress, SIZE / 8);
      const out = path.join(folder, `guest.${name}`);
      const command = `${GUESTSCOPE} extract -q --force --to kdump --compress ${name} --level 1 ${elf} ${out}`;
      const clear = clearOutput(out, 500);
      timeShell(command);
      const ratios: number[] = [];
      for (let round = 0; round < 5; round += 1) {
        // side by side in time, so that other load weighs on both
        const library = librarySeconds(elf, compress, SIZE);
        timeShell(clear);
        ratios.push(library / cores / timeShell(command));
      }
      record({
        name: `kdump ${name} level 1, 2 GiB`,
        values: ratios,
        unit: "×",
        peer: `${cores} cores × the library in one thread`,
        least: 0.8,
      });
      recordPeak({ name: `kdump ${name}: memory`, most: BASE_MIB + cores * WORKER_MIB }, command);
      const verified = spawnSync("bash", ["-c", `${GUESTSCOPE} verify -q ${out}`]);
      if (verified.status !== 0) throw new Error(`bench: ${out} does not verify`);
    }
    const back = `${GUESTSCOPE} extract -q --force ${path.join(folder, "guest.zlib")} ${path.join(folder, "back.elf")}`;
    record({
      name: "kdump zlib → ELF",
      values: secondsOf(back, 3).map((seconds) => SIZE / 1e6 / seconds),
      unit: "MB/s",
    });
  });
}
