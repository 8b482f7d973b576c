import { AARCH64, type Architecture, ARM, I386, X86_64 } from "../../../guest/image.js";
import type {
  Aarch64Registers,
  Segment,
  Vcpu,
  X86General,
  X86Registers,
  X86SegmentName,
} from "../../../guest/vcpu.js";
import { bigOf, type DeviceState, type DeviceValue, fieldOf, isStruct, listOf, numberOf } from "./devices.js";
import { otherArchitecture, otherRegisters } from "./other-registers.js";

/** `env.regs` of x86 in its order; eight of them in a 32-bit target. */
const X86_ORDER: readonly X86General[] = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
];
/** `env.segs` in its order. */
const SEGMENT_ORDER: readonly X86SegmentName[] = ["es", "cs", "ss", "ds", "fs", "gs"];
/** Type and attributes; the rest of the descriptor's high word repeats base and limit. */
const SEGMENT_FLAGS = 0x00ff_ff00;

const X86_MSRS: Readonly<Record<string, string>> = {
  efer: "env.efer",
  star: "env.star",
  lstar: "env.lstar",
  cstar: "env.cstar",
  sfmask: "env.fmask",
  kernel_gs_base: "env.kernelgsbase",
  sysenter_cs: "env.sysenter_cs",
  sysenter_esp: "env.sysenter_esp",
  sysenter_eip: "env.sysenter_eip",
  pat: "env.pat",
  tsc: "env.tsc",
  tsc_aux: "env.tsc_aux",
};

const X86_CONTROL: Readonly<Record<string, string>> = {
  cr0: "env.cr[0]",
  cr2: "env.cr[2]",
  cr3: "env.cr[3]",
  cr4: "env.cr[4]",
  xcr0: "env.xcr0",
};

/** System registers worth a name, by op0, op1, CRn, CRm, op2. */
const AARCH64_SYSTEM: Readonly<Record<string, readonly [number, number, number, number, number]>> = {
  sctlr_el1: [3, 0, 1, 0, 0],
  cpacr_el1: [3, 0, 1, 0, 2],
  ttbr0_el1: [3, 0, 2, 0, 0],
  ttbr1_el1: [3, 0, 2, 0, 1],
  tcr_el1: [3, 0, 2, 0, 2],
  esr_el1: [3, 0, 5, 2, 0],
  far_el1: [3, 0, 6, 0, 0],
  par_el1: [3, 0, 7, 4, 0],
  mair_el1: [3, 0, 10, 2, 0],
  vbar_el1: [3, 0, 12, 0, 0],
  contextidr_el1: [3, 0, 13, 0, 1],
  tpidr_el1: [3, 0, 13, 0, 4],
  tpidr_el0: [3, 3, 13, 0, 2],
  tpidrro_el0: [3, 3, 13, 0, 3],
  cntkctl_el1: [3, 0, 14, 1, 0],
};
/** KVM's number of a 64-bit aarch64 system register, without its five parts. */
const AARCH64_ID = 0x6030_0000_0013_0000n;
/** Bits of an ARM processor's status: in a 32-bit state, and its mode there. */
const STATUS_32 = 0x10n;
const STATUS_MODE = 0x1fn;
const USER_32 = 0x10n;
/** The 32-bit user mode's r0 … r14 are x0 … x14. */
const USER_REGISTERS = 15;

export interface Processors {
  readonly arch: Architecture | undefined;
  readonly vcpus: readonly Vcpu[];
}

/** Registers of all `cpu` sections, by the names of their fields. */
export function processorsOf(devices: readonly DeviceState[]): Processors {
  const cpus = devices.filter(({ section }) => section === "cpu");
  const first = cpus[0];
  if (first === undefined) return { arch: undefined, vcpus: [] };
  const arch = architectureOf(first);
  const vcpus = cpus.map((cpu): Vcpu => {
    const registers = arch === undefined ? undefined : registersOf(cpu, arch, devices);
    return { id: cpu.instance, ...(registers === undefined ? {} : { registers }) };
  });
  return { arch, vcpus: vcpus.sort((a, b) => a.id - b.id) };
}

function registersOf(
  cpu: DeviceState,
  arch: Architecture,
  devices: readonly DeviceState[],
): Vcpu["registers"] {
  if (arch === X86_64 || arch === I386) return x86(cpu, devices);
  return arch === AARCH64 ? aarch64(cpu) : otherRegisters(cpu, cpu.instance, arch);
}

function architectureOf(cpu: DeviceState): Architecture | undefined {
  if (fieldOf(cpu, "env.xregs") !== undefined) return isNarrow(cpu) ? ARM : AARCH64;
  if (fieldOf(cpu, "env.eip") !== undefined)
    return listOf(fieldOf(cpu, "env.regs")).length === 16 ? X86_64 : I386;
  return otherArchitecture(cpu);
}

/** Whether an ARM processor has never been in a 64-bit state: there is room for the registers, but nothing in them. */
function isNarrow(cpu: DeviceState): boolean {
  const wide = ["env.xregs", "env.sp_el", "env.elr_el"].flatMap((name) => listOf(fieldOf(cpu, name)));
  return (
    ((bigOf(fieldOf(cpu, "cpsr")) ?? 0n) & STATUS_32) !== 0n && wide.every((value) => bigOf(value) === 0n)
  );
}

function named(cpu: DeviceState, fields: Readonly<Record<string, string>>): Record<string, bigint> {
  const known: Record<string, bigint> = {};
  for (const [name, field] of Object.entries(fields)) {
    const value = bigOf(fieldOf(cpu, field));
    if (value !== undefined) known[name] = value;
  }
  return known;
}

function segment(value: DeviceValue | undefined): Segment | undefined {
  if (!isStruct(value)) return undefined;
  const selector = numberOf(fieldOf(value, "selector"));
  const base = bigOf(fieldOf(value, "base"));
  const limit = numberOf(fieldOf(value, "limit"));
  const flags = numberOf(fieldOf(value, "flags"));
  if (selector === undefined || base === undefined || limit === undefined || flags === undefined)
    return undefined;
  return { selector, base, limit, flags: flags & SEGMENT_FLAGS };
}

function x86(cpu: DeviceState, devices: readonly DeviceState[]): X86Registers | undefined {
  const saved = listOf(fieldOf(cpu, "env.regs"));
  const rip = bigOf(fieldOf(cpu, "env.eip"));
  const rflags = bigOf(fieldOf(cpu, "env.eflags"));
  if (saved.length < 8 || rip === undefined || rflags === undefined) return undefined;
  const general = Object.fromEntries([
    ...X86_ORDER.map((name, i) => [name, bigOf(saved[i]) ?? 0n]),
    ["rip", rip],
    ["rflags", rflags],
  ]) as Record<X86General, bigint>;
  const segments: Partial<Record<X86SegmentName, Segment>> = {};
  const listed = listOf(fieldOf(cpu, "env.segs"));
  for (const [i, name] of SEGMENT_ORDER.entries()) {
    const found = segment(listed[i]);
    if (found !== undefined) segments[name] = found;
  }
  const ldt = segment(fieldOf(cpu, "env.ldt"));
  if (ldt !== undefined) segments.ldt = ldt;
  const tr = segment(fieldOf(cpu, "env.tr"));
  if (tr !== undefined) segments.tr = tr;
  const table = (name: string): { base: bigint; limit: number } | undefined => {
    const found = segment(fieldOf(cpu, name));
    return found === undefined ? undefined : { base: found.base, limit: found.limit };
  };
  const gdt = table("env.gdt");
  const idt = table("env.idt");
  const debug: Record<string, bigint> = {};
  for (const [i, value] of listOf(fieldOf(cpu, "env.dr")).entries()) {
    const content = bigOf(value);
    if (content !== undefined && i !== 4 && i !== 5) debug[`dr${i}`] = content;
  }
  const control = named(cpu, X86_CONTROL);
  const apic = devices.find(({ section, instance }) => section === "apic" && instance === cpu.instance);
  const tpr = apic === undefined ? undefined : numberOf(fieldOf(apic, "tpr"));
  if (tpr !== undefined) control["cr8"] = BigInt(tpr >> 4);
  return {
    kind: "x86",
    general,
    segments,
    ...(gdt === undefined ? {} : { gdt }),
    ...(idt === undefined ? {} : { idt }),
    control,
    debug,
    msrs: named(cpu, X86_MSRS),
  };
}

function aarch64(cpu: DeviceState): Aarch64Registers | undefined {
  const xregs = listOf(fieldOf(cpu, "env.xregs")).map((value) => bigOf(value) ?? 0n);
  let pc = bigOf(fieldOf(cpu, "env.pc"));
  const pstate = bigOf(fieldOf(cpu, "cpsr"));
  if (pstate !== undefined && (pstate & STATUS_32) !== 0n) {
    // a 32-bit program was running: its registers are kept apart
    const narrow = listOf(fieldOf(cpu, "env.regs")).map(bigOf);
    pc = narrow[USER_REGISTERS] ?? pc;
    if ((pstate & STATUS_MODE) === USER_32)
      for (const [i, value] of narrow.slice(0, USER_REGISTERS).entries()) xregs[i] = value ?? 0n;
  }
  const sp = xregs[31];
  if (pc === undefined || pstate === undefined || sp === undefined) return undefined;
  const system: Record<string, bigint> = {};
  const values = listOf(fieldOf(cpu, "cpreg_vmstate_values"));
  const byId = new Map(
    listOf(fieldOf(cpu, "cpreg_vmstate_indexes")).map((id, i) => [bigOf(id), bigOf(values[i])] as const),
  );
  for (const [name, [op0, op1, crn, crm, op2]] of Object.entries(AARCH64_SYSTEM)) {
    const value = byId.get(AARCH64_ID | BigInt((op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2));
    if (value !== undefined) system[name] = value;
  }
  for (const [field, prefix] of [
    ["env.elr_el", "elr_el"],
    ["env.sp_el", "sp_el"],
  ] as const)
    for (const [level, value] of listOf(fieldOf(cpu, field)).entries()) {
      const content = bigOf(value);
      if (content !== undefined && (prefix === "sp_el" || level > 0)) system[`${prefix}${level}`] = content;
    }
  return { kind: "aarch64", x: xregs.slice(0, 31), sp, pc, pstate, system };
}
