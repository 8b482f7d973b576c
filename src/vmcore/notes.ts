import { array, latin1Bytes, layout, octets, u16, u32, u64big, viewOf } from "../binary/layout.js";
import { NT_PRSTATUS } from "../elf/layout.js";
import type { ElfNote } from "../elf/notes.js";
import { AARCH64, type Architecture, type GuestImage, I386, X86_64 } from "../guest/image.js";
import {
  type Aarch64Registers,
  type OtherRegisters,
  type Segment,
  type Vcpu,
  X86_GENERAL,
  type X86General,
  type X86Registers,
  type X86SegmentName,
} from "../guest/vcpu.js";
import { VERSION } from "../version.js";

/** A note's parts, wherever it stood or will stand. */
export type RawNote = Pick<ElfNote, "name" | "type" | "descriptor">;

/** Version that QEMU's own note of x86 processors carries. */
const QEMU_VERSION = 1;
const SPEC_PRSTATUS = "Linux elfcore.h, struct elf_prstatus";
const SPEC_QEMU = "QEMU dump, QEMUCPUState";

/** The part of NT_PRSTATUS before the registers, of 64-bit architectures. */
const HEAD_64 = {
  siginfo: octets(12, "signal number, code, errno"),
  cursig: u16("current signal"),
  pad: octets(18, "padding, pending and held signals"),
  pid: u32("processor number plus one"),
  identity: octets(12, "parent, group, session"),
  times: octets(64, "user, system and children's time"),
};

/** The part of NT_PRSTATUS before the registers, of 32-bit architectures. */
const HEAD_32 = {
  siginfo: octets(12, "signal number, code, errno"),
  cursig: u16("current signal"),
  pad: octets(10, "padding, pending and held signals"),
  pid: u32("processor number plus one"),
  identity: octets(12, "parent, group, session"),
  times: octets(32, "user, system and children's time"),
};

/** NT_PRSTATUS of an x86_64 processor: 336 octets. */
export const PRSTATUS_X86_64 = layout("prstatus of x86_64", SPEC_PRSTATUS, {
  ...HEAD_64,
  r15: u64big(""),
  r14: u64big(""),
  r13: u64big(""),
  r12: u64big(""),
  rbp: u64big(""),
  rbx: u64big(""),
  r11: u64big(""),
  r10: u64big(""),
  r9: u64big(""),
  r8: u64big(""),
  rax: u64big(""),
  rcx: u64big(""),
  rdx: u64big(""),
  rsi: u64big(""),
  rdi: u64big(""),
  orig_rax: u64big("system call number, or -1"),
  rip: u64big(""),
  cs: u64big("selector"),
  rflags: u64big(""),
  rsp: u64big(""),
  ss: u64big("selector"),
  fs_base: u64big(""),
  gs_base: u64big(""),
  ds: u64big("selector"),
  es: u64big("selector"),
  fs: u64big("selector"),
  gs: u64big("selector"),
  fpvalid: octets(8, "whether floating point follows, padding"),
});

/** NT_PRSTATUS of an i386 processor: 144 octets. */
export const PRSTATUS_I386 = layout("prstatus of i386", SPEC_PRSTATUS, {
  ...HEAD_32,
  rbx: u32("ebx"),
  rcx: u32("ecx"),
  rdx: u32("edx"),
  rsi: u32("esi"),
  rdi: u32("edi"),
  rbp: u32("ebp"),
  rax: u32("eax"),
  ds: u32("selector"),
  es: u32("selector"),
  fs: u32("selector"),
  gs: u32("selector"),
  orig_rax: u32("system call number, or -1"),
  rip: u32("eip"),
  cs: u32("selector"),
  rflags: u32("eflags"),
  rsp: u32("esp"),
  ss: u32("selector"),
  fpvalid: octets(4, "whether floating point follows"),
});

/** NT_PRSTATUS of an aarch64 processor: 392 octets. */
export const PRSTATUS_AARCH64 = layout("prstatus of aarch64", SPEC_PRSTATUS, {
  ...HEAD_64,
  x: array(u64big(""), 31, "x0 to x30"),
  sp: u64big(""),
  pc: u64big(""),
  pstate: u64big(""),
  fpvalid: octets(8, "whether floating point follows, padding"),
});

/** QEMU's note begins so; ten segments and QEMU_TAIL follow: 440 octets in all. */
export const QEMU_HEAD = layout("QEMUCPUState", SPEC_QEMU, {
  version: u32("1"),
  size: u32("octets of the whole"),
  rax: u64big(""),
  rbx: u64big(""),
  rcx: u64big(""),
  rdx: u64big(""),
  rsi: u64big(""),
  rdi: u64big(""),
  rsp: u64big(""),
  rbp: u64big(""),
  r8: u64big(""),
  r9: u64big(""),
  r10: u64big(""),
  r11: u64big(""),
  r12: u64big(""),
  r13: u64big(""),
  r14: u64big(""),
  r15: u64big(""),
  rip: u64big(""),
  rflags: u64big(""),
});

/** A segment register within QEMU's note. */
export const QEMU_SEGMENT = layout("QEMUCPUSegment", SPEC_QEMU, {
  selector: u32(""),
  limit: u32("octets"),
  flags: u32("high word of the descriptor"),
  pad: u32("0"),
  base: u64big(""),
});

/** Order of the segments in QEMU's note. */
const QEMU_SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr", "gdt", "idt"] as const;

export const QEMU_TAIL = layout("QEMUCPUState, end", SPEC_QEMU, {
  cr0: u64big(""),
  cr1: u64big("0"),
  cr2: u64big(""),
  cr3: u64big(""),
  cr4: u64big(""),
  kernel_gs_base: u64big(""),
});

const QEMU_SIZE = QEMU_HEAD.size + QEMU_SEGMENTS.length * QEMU_SEGMENT.size + QEMU_TAIL.size;

/** What QEMU's gdb script writes to keep a reader happy that wants some note. */
export const EMPTY_NOTE: RawNote = { name: "NONE", type: 0, descriptor: latin1Bytes("EMPTY") };

export const vmcoreInfoNote = (text: string): RawNote => ({
  name: "VMCOREINFO",
  type: 0,
  descriptor: latin1Bytes(text),
});

/** Where a dump came from: `KEY=VALUE` lines, for people and for whoever reads the dump later. */
export function provenanceNote(guest: GuestImage): RawNote {
  const { origin, source, hypervisor, guestType, name, uuid } = guest.facts;
  const lines = Object.entries({ origin, source, hypervisor, guestType, name, uuid })
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${String(value).replaceAll(/[^ -~]/g, "?")}\n`);
  return {
    name: "GUESTSCOPE",
    type: 0,
    descriptor: latin1Bytes(`writer=guestscope ${VERSION}\n${lines.join("")}`),
  };
}

/** NT_PRSTATUS and QEMU notes of all processors, then VMCOREINFO; each only if known. */
export function guestNotes(guest: GuestImage): RawNote[] {
  const notes: RawNote[] = [];
  for (const vcpu of guest.vcpus) {
    const descriptor = encodePrstatus(vcpu, guest.arch);
    if (descriptor !== undefined) notes.push({ name: "CORE", type: NT_PRSTATUS, descriptor });
  }
  for (const vcpu of guest.vcpus) {
    // a set without cr3 came from a source that has no more than NT_PRSTATUS holds
    if (vcpu.registers?.kind === "x86" && vcpu.registers.control.cr3 !== undefined)
      notes.push({ name: "QEMU", type: 0, descriptor: encodeQemu(vcpu.registers) });
  }
  if (guest.facts.vmcoreInfo !== undefined) notes.push(vmcoreInfoNote(guest.facts.vmcoreInfo.text));
  return notes;
}

/** The descriptor of one processor's NT_PRSTATUS; undefined when its registers are not known. */
export function encodePrstatus(vcpu: Vcpu, arch: Architecture): Uint8Array | undefined {
  const { registers } = vcpu;
  if (registers === undefined) return undefined;
  if (registers.kind === "other") return registers.prstatus;
  // a dump read by us goes out as it came in
  const kept = vcpu.raw?.prstatus;
  if (kept !== undefined && kept.length === prstatusLayout(registers, arch).size) return kept;
  const none = new Uint8Array(0);
  const head = { siginfo: none, cursig: 0, pad: none, pid: vcpu.id + 1, identity: none, times: none };
  if (registers.kind === "aarch64") {
    const { x, sp, pc, pstate } = registers;
    return PRSTATUS_AARCH64.encode({ ...head, x, sp, pc, pstate, fpvalid: none }, arch.order);
  }
  const selector = (name: X86SegmentName): bigint => BigInt(registers.segments[name]?.selector ?? 0);
  const { r8, r9, r10, r11, r12, r13, r14, r15, ...general } = registers.general;
  const { cs, ds, es, fs, gs, ss } = {
    cs: selector("cs"),
    ds: selector("ds"),
    es: selector("es"),
    fs: selector("fs"),
    gs: selector("gs"),
    ss: selector("ss"),
  };
  if (arch.bits === 32) {
    const low = (value: bigint): number => Number(BigInt.asUintN(32, value));
    const { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, rip, rflags } = general;
    return PRSTATUS_I386.encode(
      {
        ...head,
        rbx: low(rbx),
        rcx: low(rcx),
        rdx: low(rdx),
        rsi: low(rsi),
        rdi: low(rdi),
        rbp: low(rbp),
        rax: low(rax),
        ds: low(ds),
        es: low(es),
        fs: low(fs),
        gs: low(gs),
        orig_rax: 0xffff_ffff,
        rip: low(rip),
        cs: low(cs),
        rflags: low(rflags),
        rsp: low(rsp),
        ss: low(ss),
        fpvalid: none,
      },
      arch.order,
    );
  }
  return PRSTATUS_X86_64.encode(
    {
      ...head,
      ...general,
      r8,
      r9,
      r10,
      r11,
      r12,
      r13,
      r14,
      r15,
      orig_rax: -1n,
      cs,
      ss,
      ds,
      es,
      fs,
      gs,
      fs_base: registers.segments.fs?.base ?? registers.msrs.fs_base ?? 0n,
      gs_base: registers.segments.gs?.base ?? registers.msrs.gs_base ?? 0n,
      fpvalid: none,
    },
    arch.order,
  );
}

function prstatusLayout(
  registers: X86Registers | Aarch64Registers,
  arch: Architecture,
): { readonly size: number } {
  if (registers.kind === "aarch64") return PRSTATUS_AARCH64;
  return arch.bits === 32 ? PRSTATUS_I386 : PRSTATUS_X86_64;
}

/** The descriptor of QEMU's note: 440 octets, always little endian. */
export function encodeQemu(registers: X86Registers): Uint8Array {
  const bytes = new Uint8Array(QEMU_SIZE);
  const view = viewOf(bytes);
  QEMU_HEAD.write(view, 0, { version: QEMU_VERSION, size: QEMU_SIZE, ...registers.general }, "little");
  let at = QEMU_HEAD.size;
  for (const name of QEMU_SEGMENTS) {
    const table = name === "gdt" || name === "idt" ? registers[name] : undefined;
    const found: Segment | undefined =
      name === "gdt" || name === "idt"
        ? table && { ...table, selector: 0, flags: 0 }
        : registers.segments[name];
    const value = found ?? { selector: 0, limit: 0, flags: 0, base: 0n };
    QEMU_SEGMENT.write(view, at, { ...value, pad: 0 }, "little");
    at += QEMU_SEGMENT.size;
  }
  const { cr0 = 0n, cr2 = 0n, cr3 = 0n, cr4 = 0n } = registers.control;
  const { kernel_gs_base = 0n } = registers.msrs;
  QEMU_TAIL.write(view, at, { cr0, cr1: 0n, cr2, cr3, cr4, kernel_gs_base }, "little");
  return bytes;
}

/**
 * The processors that a dump's notes describe: the n-th CORE/NT_PRSTATUS with the n-th QEMU note.
 * Notes of a size that fits nothing known are kept as they are where they can be, ignored otherwise.
 */
export function decodeVcpus(notes: readonly RawNote[], arch: Architecture): Vcpu[] {
  const prstatus = notes.filter((note) => note.name === "CORE" && note.type === NT_PRSTATUS);
  const qemu = notes.filter((note) => note.name === "QEMU" && note.descriptor.length >= QEMU_SIZE);
  return Array.from({ length: Math.max(prstatus.length, qemu.length) }, (_, id): Vcpu => {
    const state = prstatus[id]?.descriptor;
    const full = qemu[id]?.descriptor;
    const raw = state === undefined ? {} : { raw: { prstatus: state } };
    if (full !== undefined) return { id, registers: decodeQemu(full), ...raw };
    if (state === undefined) return { id };
    return { id, registers: decodePrstatus(state, arch), ...raw };
  });
}

/** Registers of QEMU's note (at least 440 octets). */
export function decodeQemu(descriptor: Uint8Array): X86Registers {
  const view = viewOf(descriptor);
  const { version: _version, size: _size, ...general } = QEMU_HEAD.read(view, 0, "little");
  const segments: Partial<Record<X86SegmentName, Segment>> = {};
  const tables: { gdt?: { base: bigint; limit: number }; idt?: { base: bigint; limit: number } } = {};
  let at = QEMU_HEAD.size;
  for (const name of QEMU_SEGMENTS) {
    const { selector, limit, flags, base } = QEMU_SEGMENT.read(view, at, "little");
    if (name === "gdt" || name === "idt") tables[name] = { base, limit };
    else segments[name] = { selector, limit, flags, base };
    at += QEMU_SEGMENT.size;
  }
  const { cr0, cr2, cr3, cr4, kernel_gs_base } = QEMU_TAIL.read(view, at, "little");
  return {
    kind: "x86",
    general,
    segments,
    ...tables,
    control: { cr0, cr2, cr3, cr4 },
    debug: {},
    msrs: { kernel_gs_base },
  };
}

/** Registers of an NT_PRSTATUS descriptor. Selectors alone are no segments: they stay in the raw note. */
export function decodePrstatus(
  descriptor: Uint8Array,
  arch: Architecture,
): X86Registers | Aarch64Registers | OtherRegisters {
  if (arch.machine === AARCH64.machine && descriptor.length >= PRSTATUS_AARCH64.size) {
    const { x, sp, pc, pstate } = PRSTATUS_AARCH64.decode(descriptor, arch.order);
    return { kind: "aarch64", x, sp, pc, pstate, system: {} };
  }
  const isX86 = arch.machine === X86_64.machine || arch.machine === I386.machine;
  if (isX86 && descriptor.length >= PRSTATUS_X86_64.size) {
    const state = PRSTATUS_X86_64.decode(descriptor, arch.order);
    const { fs_base, gs_base } = state;
    const general = Object.fromEntries(X86_GENERAL.map((name) => [name, state[name]]));
    return x86Of(general as Record<X86General, bigint>, { fs_base, gs_base });
  }
  if (isX86 && descriptor.length >= PRSTATUS_I386.size) {
    const state: Partial<Record<X86General, number>> = PRSTATUS_I386.decode(descriptor, arch.order);
    const general = Object.fromEntries(X86_GENERAL.map((name) => [name, BigInt(state[name] ?? 0)]));
    return x86Of(general as Record<X86General, bigint>, {});
  }
  return { kind: "other", prstatus: descriptor };
}

function x86Of(general: Record<X86General, bigint>, msrs: Record<string, bigint>): X86Registers {
  return { kind: "x86", general, segments: {}, control: {}, debug: {}, msrs };
}
