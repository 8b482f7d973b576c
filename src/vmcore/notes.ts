import { appendTo } from "../binary/arrays.js";
import { trimNuls } from "../binary/text.js";
import { latin1, latin1Bytes, layout, u32, u64big, viewOf } from "../binary/layout.js";
import { NT_PRSTATUS } from "../elf/layout.js";
import type { ElfNote } from "../elf/notes.js";
import type { Architecture } from "../guest/arch/architecture.js";
import { isExcluded } from "../guest/memory.js";
import type { GuestImage } from "../guest/image.js";
import type { Segment, Vcpu, VcpuNote, X86Registers, X86SegmentName } from "../guest/vcpu.js";
import { VERSION } from "../version.js";
import { decodePrstatus, encodePrstatus } from "./prstatus.js";

/** A note's parts, wherever it was or will be. */
export type RawNote = Pick<ElfNote, "name" | "type" | "descriptor">;

/** Version that QEMU's own note of x86 vCPUs carries. */
const QEMU_VERSION = 1;
const SPEC_QEMU = "QEMU dump, QEMUCPUState";

/** QEMU's note begins so; ten segments and QEMU_TAIL follow: 440 bytes in all. */
export const QEMU_HEAD = layout("QEMUCPUState", SPEC_QEMU, {
  version: u32("1"),
  size: u32("bytes of the whole"),
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
  limit: u32("bytes"),
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

/** What makedumpfile says it erased (`-x`), a line each: those bytes are no longer the guest's. */
export function erasedLines(text: string): readonly string[] {
  const lines = trimNuls(text).split("\n");
  return lines.map((line) => line.trim()).filter((line) => line !== "");
}

/** The same of a dump's notes. */
export function erasedOf(notes: readonly RawNote[]): readonly string[] {
  const note = notes.find(({ name }) => name === ERASE_INFO);
  return note === undefined ? [] : erasedLines(latin1(note.descriptor));
}

const ERASE_INFO = "ERASEINFO";

export const erasedWarning = (line: string): string => `its writer erased part of the memory: ${line}`;

/** Where a dump came from: `KEY=VALUE` lines, for people and for whoever reads the dump later. */
export function provenanceNote(guest: GuestImage): RawNote {
  const { origin, source, hypervisor, guestType, name, uuid } = guest.facts;
  const lines = Object.entries({ origin, source, hypervisor, guestType, name, uuid })
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${String(value).replaceAll(/[^ -~]/g, "?")}\n`);
  for (const [reason, bytes] of excludedOf(guest)) lines.push(`excluded=${bytes} bytes: ${reason}\n`);
  return {
    name: "GUESTSCOPE",
    type: 0,
    descriptor: latin1Bytes(`writer=guestscope ${VERSION}\n${lines.join("")}`),
  };
}

/** Bytes of memory that the source's writer excluded on purpose, by what it said. */
function excludedOf({ memory }: GuestImage): ReadonlyMap<string, number> {
  const excluded = new Map<string, number>();
  for (const range of memory.ranges()) {
    if (!isExcluded(range) || range.reason === undefined) continue;
    const reason = range.reason.text.replaceAll(/[^ -~]/g, "?");
    excluded.set(reason, (excluded.get(reason) ?? 0) + range.end - range.start);
  }
  return excluded;
}

/** Per vCPU NT_PRSTATUS and what a dump had beside it, then QEMU's notes, VMCOREINFO, what was erased; each only if known. */
export function guestNotes(guest: GuestImage): RawNote[] {
  const notes: RawNote[] = [];
  for (const vcpu of guest.vcpus) {
    const descriptor = encodePrstatus(vcpu, guest.arch);
    if (descriptor !== undefined) notes.push({ name: "CORE", type: NT_PRSTATUS, descriptor });
    appendTo(notes, vcpu.notes ?? []);
  }
  for (const vcpu of guest.vcpus) {
    // a set without cr3 came from a source that has no more than NT_PRSTATUS holds
    if (vcpu.registers?.kind === "x86" && vcpu.registers.control.cr3 !== undefined)
      notes.push({ name: "QEMU", type: 0, descriptor: encodeQemu(vcpu.registers) });
  }
  if (guest.facts.vmcoreInfo !== undefined) notes.push(vmcoreInfoNote(guest.facts.vmcoreInfo.text));
  const { erased = [] } = guest.facts;
  if (erased.length > 0) {
    const descriptor = latin1Bytes(erased.map((line) => `${line}\n`).join(""));
    notes.push({ name: ERASE_INFO, type: 0, descriptor });
  }
  return notes;
}

/** The descriptor of QEMU's note: 440 bytes, always little endian. */
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
 * The vCPUs that a dump's notes describe: the n-th CORE/NT_PRSTATUS with the n-th QEMU note, and the notes of
 * Linux's names between it and the next. Notes of a size that fits nothing known are kept as they are.
 */
export function decodeVcpus(notes: readonly RawNote[], arch: Architecture): Vcpu[] {
  const states: { readonly state: Uint8Array; readonly beside: VcpuNote[] }[] = [];
  for (const { name, type, descriptor } of notes) {
    if (name === "CORE" && type === NT_PRSTATUS) states.push({ state: descriptor, beside: [] });
    else if (name === "CORE" || name === "LINUX") states.at(-1)?.beside.push({ name, type, descriptor });
  }
  // one that is lost among others has no descriptor, and its place
  const qemu = notes
    .filter(({ name, descriptor }) => {
      return name === "QEMU" && (descriptor.length >= QEMU_SIZE || descriptor.length === 0);
    })
    .map(({ descriptor }) => (descriptor.length === 0 ? undefined : descriptor));
  return Array.from({ length: Math.max(states.length, qemu.length) }, (_, id): Vcpu => {
    const { state: noted, beside = [] } = states[id] ?? {};
    const state = noted?.length === 0 ? undefined : noted;
    const full = qemu[id];
    const kept = {
      ...(state === undefined ? {} : { raw: { prstatus: state } }),
      ...(beside.length === 0 ? {} : { notes: beside }),
    };
    if (full !== undefined) return { id, registers: decodeQemu(full), ...kept };
    if (state === undefined) return { id };
    return { id, registers: decodePrstatus(state, arch), ...kept };
  });
}

/** Registers of QEMU's note (at least 440 bytes). */
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
