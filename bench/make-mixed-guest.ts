import * as fs from "node:fs";
import { ehdr64, NT_PRSTATUS, phdr64, PT_LOAD, PT_NOTE } from "../src/elf/layout.js";
import { encodeNote } from "../src/elf/notes.js";
import { X86_64 } from "../src/guest/arch/x86.js";
import { completeGeneral, type X86Registers } from "../src/guest/vcpu.js";
import { encodeQemu } from "../src/vmcore/notes.js";
import { encodePrstatus } from "../src/vmcore/prstatus.js";
import { coreHeader } from "./make-core-header.js";

const PAGE = 4096;
const MIB = 1 << 20;

/**
 * An ELF vmcore of `size` bytes of memory (a multiple of 1 MiB) from offset 4096 on: half zeros, the rest texts, tables,
 * numbers and noise by turns, so that it packs to about a third.
 */
export function makeMixedGuest(file: string, size: number): void {
  const header = Buffer.alloc(PAGE);
  const notes = processorNotes();
  const notesAt = ehdr64.size + 2 * phdr64.size;
  const at = { p_flags: 0, p_vaddr: 0n, p_paddr: 0n, p_align: 0n };
  const note = { ...at, p_type: PT_NOTE, p_offset: notesAt, p_filesz: notes.length, p_memsz: notes.length };
  const load = { ...at, p_type: PT_LOAD, p_offset: PAGE, p_filesz: size, p_memsz: size };
  header.set(coreHeader(2));
  header.set(phdr64.encode(note, "little"), ehdr64.size);
  header.set(phdr64.encode(load, "little"), ehdr64.size + phdr64.size);
  header.set(notes, notesAt);
  const fd = fs.openSync(file, "w");
  fs.writeSync(fd, header, 0, PAGE, 0);
  const chunk = Buffer.alloc(MIB);
  for (let at = 0; at < size; at += MIB) {
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
