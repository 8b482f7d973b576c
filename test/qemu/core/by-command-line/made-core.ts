import { AT_EXECFN, AT_PHDR, ET_CORE, NT_AUXV, PT_LOAD, PT_NOTE } from "../../../../src/elf/layout.js";
import { encodeNote } from "../../../../src/elf/notes.js";
import { buildElf, type SegmentDescription } from "../../../elf/elf-writer.js";

const STACK = 0x7ffc_0000_0000;
const RAM = 0x7f00_0000_0000;
/** Far enough apart for mappings not to be neighbours. */
const APART = 2 ** 32;
const MIB = 1 << 20;

/** The core of a process that was started with these arguments, and whose mappings have these contents. */
export function makeCore(args: readonly string[], mappings: readonly Uint8Array[]): Uint8Array {
  const auxv: [bigint, bigint][] = [
    [6n, 4096n],
    [BigInt(AT_PHDR), 0x40_0040n],
    [4n, 56n],
    [BigInt(AT_EXECFN), 0n],
  ];
  const environment = ["PATH=/bin", "HOME=/"];
  const texts = [...args, ...environment, "/usr/bin/qemu-system-x86_64"].map((text) =>
    new TextEncoder().encode(`${text}\0`),
  );
  // count, pointers, 0, pointers, 0, auxiliary vector with its end
  const words = 1 + args.length + 1 + environment.length + 1 + (auxv.length + 1) * 2;
  let at = STACK + words * 8;
  const places = texts.map((text) => {
    const place = at;
    at += text.length;
    return BigInt(place);
  });
  auxv[3] = [BigInt(AT_EXECFN), places.at(-1) ?? 0n];
  const stack = new Uint8Array(at - STACK);
  const view = new DataView(stack.buffer);
  const all = [
    BigInt(args.length),
    ...places.slice(0, args.length),
    0n,
    ...places.slice(args.length, -1),
    0n,
    ...auxv.flat(),
    0n,
    0n,
  ];
  for (const [i, word] of all.entries()) view.setBigUint64(i * 8, word, true);
  let end = words * 8;
  for (const text of texts) {
    stack.set(text, end);
    end += text.length;
  }
  const note = new Uint8Array(auxv.length * 16);
  for (const [i, word] of auxv.flat().entries()) new DataView(note.buffer).setBigUint64(i * 8, word, true);
  const segments: SegmentDescription[] = [
    { type: PT_NOTE, data: encodeNote("CORE", NT_AUXV, note, "little") },
    ...mappings.map((data, i) => ({ type: PT_LOAD, vaddr: BigInt(RAM + i * APART), data })),
    { type: PT_LOAD, vaddr: BigInt(STACK), data: stack },
  ];
  return buildElf({ type: ET_CORE, segments });
}

/** Puts a kernel's boot_params with a memory map at `at`: ranges of RAM. */
export function putBootParams(
  ram: Uint8Array,
  at: number,
  ranges: readonly (readonly [number, number])[],
): void {
  const view = new DataView(ram.buffer, ram.byteOffset + at);
  view.setUint8(0x1e8, ranges.length);
  ram.set(new TextEncoder().encode("HdrS"), at + 0x202);
  for (const [i, [start, end]] of ranges.entries()) {
    view.setBigUint64(0x2d0 + i * 20, BigInt(start), true);
    view.setBigUint64(0x2d0 + i * 20 + 8, BigInt(end - start), true);
    view.setUint32(0x2d0 + i * 20 + 16, 1, true);
  }
}

/** Puts an RSDP at 0xf5000 that leads to an RSDT and one table, right below `below`. */
export function putAcpi(ram: Uint8Array, below: number): void {
  const sum = (at: number, length: number, checksum: number): void => {
    ram[at + checksum] = 0;
    const total = ram.subarray(at, at + length).reduce((all, byte) => (all + byte) & 0xff, 0);
    ram[at + checksum] = (256 - total) & 0xff;
  };
  const view = new DataView(ram.buffer, ram.byteOffset);
  const [root, table] = [below - 0x1000, below - 0x800];
  for (const [at, signature, length] of [
    [root, "RSDT", 40],
    [table, "FACP", 116],
  ] as const) {
    ram.set(new TextEncoder().encode(signature), at);
    view.setUint32(at + 4, length, true);
  }
  view.setUint32(root + 36, table, true);
  sum(root, 40, 9);
  sum(table, 116, 9);
  ram.set(new TextEncoder().encode("RSD PTR "), 0xf5000);
  view.setUint32(0xf5000 + 16, root, true);
  sum(0xf5000, 20, 8);
}

/** A core of a pc with 6 MiB of RAM, 4 of them below 4 GiB, proven by both. */
export function provenCore(): Uint8Array {
  const ram = new Uint8Array(6 * MIB);
  putAcpi(ram, 4 * MIB);
  putBootParams(ram, 0x90000, [
    [0, 0x9fc00],
    [MIB, 4 * MIB],
    [2 ** 32, 2 ** 32 + 2 * MIB],
  ]);
  return makeCore(["qemu-system-x86_64", "-M", "pc,max-ram-below-4g=4M", "-m", "6M", "-vga", "none"], [ram]);
}
