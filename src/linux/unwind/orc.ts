import { viewOf } from "../../binary/layout.js";
import type { KernelType } from "../types.js";
import { findMember } from "../types.js";

/** A register (or what it points to) that an entry counts from. */
export type OrcRegister =
  | "undefined"
  | "prevSp"
  | "ax"
  | "dx"
  | "di"
  | "bp"
  | "sp"
  | "r10"
  | "r13"
  | "bpIndirect"
  | "spIndirect"
  | "unknown";

/**
 * What is at the address an entry computes: a return address (`call`), all registers (`regs`) or an interrupt's frame
 * alone (`partial`); or the stack ends here (`end`), or nothing is known (`undefined`).
 */
export type OrcType = "undefined" | "end" | "call" | "regs" | "partial" | "unknown";

/** How to find the caller's frame from any instruction from the entry's address to the next entry's. */
export interface OrcEntry {
  readonly sp: OrcRegister;
  /** Bytes. */
  readonly spOffset: number;
  readonly bp: OrcRegister;
  /** Bytes. */
  readonly bpOffset: number;
  readonly type: OrcType;
  /** The frame found is an interrupted one: its address is that of the next instruction, not of a call's return. */
  readonly signal: boolean;
}

/** Bits of a 16-bit word that hold one member. */
interface Bits {
  readonly shift: number;
  readonly mask: number;
}

/** How one kernel lays out `struct orc_entry`. */
export interface OrcLayout {
  /** Bytes of an entry. */
  readonly size: number;
  readonly spOffset: number;
  readonly bpOffset: number;
  readonly spRegister: Bits;
  readonly bpRegister: Bits;
  readonly type: Bits;
  readonly signal: Bits | undefined;
  readonly end: Bits | undefined;
  /** Where the word with the bit fields begins. */
  readonly word: number;
  readonly types: readonly OrcType[];
  readonly registers: readonly OrcRegister[];
  /** Whether an offset from what the stack pointer points to is added before the pointer is followed (until 5.11). */
  readonly offsetBeforeIndirection: boolean;
}

/** Values of `type` until Linux 6.3, where an entry without a stack pointer and with `end` ends the stack. */
const OLD_TYPES: readonly OrcType[] = ["call", "regs", "partial", "unknown"];
/** From 6.4 on. */
const NEW_TYPES: readonly OrcType[] = ["undefined", "end", "call", "regs", "partial"];

/** Numbers of registers until 2026; `ax` was the last to come. */
const REGISTERS: readonly OrcRegister[] = [
  "undefined",
  "prevSp",
  "dx",
  "di",
  "bp",
  "sp",
  "r10",
  "r13",
  "bpIndirect",
  "spIndirect",
  "ax",
];
/** The same in the order of the CPU's own numbers, in newer kernels. */
const RENUMBERED: readonly OrcRegister[] = [
  "undefined",
  "ax",
  "dx",
  "sp",
  "bp",
  "di",
  "r10",
  "r13",
  "prevSp",
  "spIndirect",
  "bpIndirect",
];

const bits = (shift: number, width: number): Bits => ({ shift, mask: (1 << width) - 1 });

/** Version of a release, for comparison: `6.1.0-56` is 601. */
function versionOf(release: string): number {
  const [, major = "0", minor = "0"] = /^(\d{1,3})\.(\d{1,3})/.exec(release) ?? [];
  return Number(major) * 100 + Number(minor);
}

/**
 * The layout of a kernel's entries: from its own `struct orc_entry` where its types have it, else by its release.
 * Which numbers registers have is not said anywhere: see {@link withNumbering}.
 */
export function orcLayout(type: KernelType | undefined, release: string): OrcLayout {
  const version = versionOf(release);
  const offsetBeforeIndirection = version < 512;
  const known = type === undefined ? undefined : layoutOf(type);
  if (known !== undefined) return { ...known, offsetBeforeIndirection };
  const isNew = version >= 604;
  return {
    size: 6,
    spOffset: 0,
    bpOffset: 2,
    word: 4,
    spRegister: bits(0, 4),
    bpRegister: bits(4, 4),
    type: bits(8, isNew ? 3 : 2),
    signal: isNew ? bits(11, 1) : version === 603 ? bits(10, 1) : undefined,
    end: isNew ? undefined : bits(version === 603 ? 11 : 10, 1),
    types: isNew ? NEW_TYPES : OLD_TYPES,
    registers: REGISTERS,
    offsetBeforeIndirection,
  };
}

function layoutOf(struct: KernelType): Omit<OrcLayout, "offsetBeforeIndirection"> | undefined {
  const word = 4;
  const place = (name: string): Bits | undefined => {
    const member = findMember(struct, name);
    if (member?.bitSize === undefined) return undefined;
    const shift = member.bitOffset - word * 8;
    return shift >= 0 && shift + member.bitSize <= 16 ? bits(shift, member.bitSize) : undefined;
  };
  const offset = (name: string): number | undefined => {
    const member = findMember(struct, name);
    return member === undefined || member.bitOffset % 8 !== 0 ? undefined : member.bitOffset / 8;
  };
  const spOffset = offset("sp_offset");
  const bpOffset = offset("bp_offset");
  const spRegister = place("sp_reg");
  const bpRegister = place("bp_reg");
  const type = place("type");
  if (spOffset === undefined || bpOffset === undefined || struct.size !== 6) return undefined;
  if (spOffset > 4 || bpOffset > 4) return undefined;
  if (spRegister === undefined || bpRegister === undefined || type === undefined) return undefined;
  return {
    size: struct.size,
    spOffset,
    bpOffset,
    word,
    spRegister,
    bpRegister,
    type,
    signal: place("signal"),
    end: place("end"),
    // types say how wide the member is, not what its values mean; both changed at once
    types: type.mask > 3 ? NEW_TYPES : OLD_TYPES,
    registers: REGISTERS,
  };
}

/**
 * The layout with the register numbers that a sample of entries shows: nearly all of them count from the stack
 * pointer, which is 5 in one numbering and 3 in the other.
 */
export function withNumbering(layout: OrcLayout, sample: Uint8Array): OrcLayout {
  const counts = new Uint32Array(16);
  const view = viewOf(sample);
  for (let at = 0; at + layout.size <= sample.length; at += layout.size) {
    const number =
      (view.getUint16(at + layout.word, true) >> layout.spRegister.shift) & layout.spRegister.mask;
    counts[number & 15] = (counts[number & 15] ?? 0) + 1;
  }
  const isRenumbered = (counts[RENUMBERED.indexOf("sp")] ?? 0) > (counts[REGISTERS.indexOf("sp")] ?? 0);
  return { ...layout, registers: isRenumbered ? RENUMBERED : REGISTERS };
}

/** One entry out of its bytes. */
export function decodeOrcEntry(layout: OrcLayout, bytes: Uint8Array): OrcEntry {
  const view = viewOf(bytes);
  const word = view.getUint16(layout.word, true);
  const take = ({ shift, mask }: Bits): number => (word >> shift) & mask;
  const sp = layout.registers[take(layout.spRegister)] ?? "unknown";
  let type = layout.types[take(layout.type)] ?? "unknown";
  if (layout.types === OLD_TYPES && sp === "undefined") {
    type = layout.end === undefined || take(layout.end) !== 0 ? "end" : "undefined";
  }
  return {
    sp,
    spOffset: view.getInt16(layout.spOffset, true),
    bp: layout.registers[take(layout.bpRegister)] ?? "unknown",
    bpOffset: view.getInt16(layout.bpOffset, true),
    type,
    signal: layout.signal === undefined ? type === "regs" || type === "partial" : take(layout.signal) !== 0,
  };
}
