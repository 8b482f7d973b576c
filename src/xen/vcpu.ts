import { viewOf } from "../binary/layout.js";
import { PAGE_SIZE, type PhysicalMemory } from "../guest/memory.js";
import type { Segment, Vcpu, X86General, X86Registers, X86SegmentName } from "../guest/vcpu.js";
import type { HvmContextEntry } from "./hvm-context/entries.js";
import { CPU_GENERAL, CPU_SEGMENTS, saveCpu } from "./hvm-context/layout.js";
import { VCPU_CONTEXT_SIZE } from "./libxc/layout.js";
import { PV_GENERAL_32, PV_GENERAL_64, PV_IN_KERNEL, pvContext32, pvContext64 } from "./pv-context.js";

/**
 * Access rights as Xen's HVM CPU record has them (descriptor bits 40–47 in bits 0–7, 52–55 in bits 8–11)
 * as the descriptor's high word has them.
 */
export function segmentFlags(accessRights: number): number {
  return ((accessRights & 0xff) << 8) | ((accessRights & 0xf00) << 12);
}

/** Registers of an HVM processor from its CPU record; `body` may lack the fields that later releases added. */
export function hvmRegisters(body: Uint8Array): X86Registers {
  const whole = new Uint8Array(saveCpu.size);
  whole.set(body.subarray(0, saveCpu.size));
  const cpu = saveCpu.decode(whole, "little");
  const general: Partial<Record<X86General, bigint>> = { rip: cpu.rip, rflags: cpu.rflags };
  for (const [i, name] of CPU_GENERAL.entries()) general[name] = cpu.general[i] ?? 0n;
  const segments: Partial<Record<X86SegmentName, Segment>> = {};
  for (const [i, name] of CPU_SEGMENTS.entries()) {
    if (name === "idtr" || name === "gdtr") continue;
    segments[name === "ldtr" ? "ldt" : name] = {
      selector: cpu.selectors[i] ?? 0,
      base: cpu.bases[i] ?? 0n,
      limit: cpu.limits[i] ?? 0,
      flags: segmentFlags(cpu.accessRights[i] ?? 0),
    };
  }
  const table = (name: "idtr" | "gdtr"): { base: bigint; limit: number } => {
    const i = CPU_SEGMENTS.indexOf(name);
    return { base: cpu.bases[i] ?? 0n, limit: cpu.limits[i] ?? 0 };
  };
  const { cr0, cr2, cr3, cr4, dr0, dr1, dr2, dr3, dr6, dr7 } = cpu;
  return {
    kind: "x86",
    general: complete(general),
    segments,
    gdt: table("gdtr"),
    idt: table("idtr"),
    control: { cr0, cr2, cr3, cr4 },
    debug: { dr0, dr1, dr2, dr3, dr6, dr7 },
    msrs: {
      efer: cpu.efer,
      star: cpu.star,
      lstar: cpu.lstar,
      cstar: cpu.cstar,
      sfmask: cpu.sfmask,
      kernel_gs_base: cpu.shadowGs,
      sysenter_cs: cpu.sysenterCs,
      sysenter_esp: cpu.sysenterEsp,
      sysenter_eip: cpu.sysenterEip,
      tsc: cpu.tsc,
      tsc_aux: cpu.tscAux,
    },
  };
}

function complete(known: Partial<Record<X86General, bigint>>): Record<X86General, bigint> {
  const at = (name: X86General): bigint => known[name] ?? 0n;
  return {
    rax: at("rax"),
    rbx: at("rbx"),
    rcx: at("rcx"),
    rdx: at("rdx"),
    rsi: at("rsi"),
    rdi: at("rdi"),
    rsp: at("rsp"),
    rbp: at("rbp"),
    r8: at("r8"),
    r9: at("r9"),
    r10: at("r10"),
    r11: at("r11"),
    r12: at("r12"),
    r13: at("r13"),
    r14: at("r14"),
    r15: at("r15"),
    rip: at("rip"),
    rflags: at("rflags"),
  };
}

/** Entries of an HVM save context that belong to a processor: typecode → name among the raw areas. */
const HVM_VCPU_ENTRIES: ReadonlyMap<number, string> = new Map([
  [2, "cpu"],
  [5, "lapic"],
  [6, "lapic_regs"],
  [14, "mtrr"],
  [16, "xsave"],
  [17, "viridian"],
  [18, "vmce"],
  [19, "tsc_adjust"],
  [20, "msr"],
]);

/** The processors an HVM save context tells of. One that was down has interrupt and MTRR state, but no registers. */
export function hvmVcpus(entries: Iterable<HvmContextEntry>): Vcpu[] {
  const raw = new Map<number, Record<string, Uint8Array>>();
  for (const { typecode, instance, body } of entries) {
    const name = HVM_VCPU_ENTRIES.get(typecode);
    if (name === undefined) continue;
    const areas = raw.get(instance) ?? {};
    areas[name] = body;
    raw.set(instance, areas);
  }
  const vcpus = [...raw].sort(([a], [b]) => a - b);
  return vcpus.map(([id, areas]) => {
    const { cpu, mtrr, xsave, ...rest } = areas;
    const kept = {
      ...rest,
      ...(mtrr === undefined ? {} : { mtrr }),
      ...(xsave === undefined ? {} : { xsave }),
    };
    if (cpu === undefined)
      return { id, caveat: "was down when saved: the source holds no registers of it", raw: kept };
    const registers = hvmRegisters(cpu);
    const pat = wordAt(mtrr, 0);
    const xcr0 = wordAt(xsave, 8);
    const apicBase = wordAt(areas.lapic, 0);
    const msrs = {
      ...registers.msrs,
      ...(pat === undefined ? {} : { pat }),
      ...(apicBase === undefined ? {} : { apic_base: apicBase }),
    };
    const control = { ...registers.control, ...(xcr0 === undefined ? {} : { xcr0 }) };
    return {
      id,
      registers: { ...registers, msrs, control },
      raw: { fpu: cpu.subarray(0, 512), ...kept },
    };
  });
}

function wordAt(area: Uint8Array | undefined, at: number): bigint | undefined {
  return area === undefined || area.length < at + 8 ? undefined : viewOf(area).getBigUint64(at, true);
}

/** Reads the descriptor with this index of the processor's GDT, undefined where it can't be had. */
type Descriptors = (index: number) => Promise<Uint8Array | undefined>;

/** Selectors from here on are Xen's own: flat segments that every PV guest may use. */
const XEN_GDT_START = 0xe000;
const FLAT_CODE_64 = 0x00a0_9b00;
const FLAT_CODE_32 = 0x00c0_9b00;
const FLAT_DATA = 0x00c0_9300;
/** Selector of Xen's flat 64-bit code segment, privilege level apart. */
const XEN_CODE_64 = 0xe030;

async function pvSegment(
  selector: number,
  isCode: boolean,
  descriptor: Descriptors,
): Promise<Segment | undefined> {
  if ((selector & ~3) === 0) return undefined;
  if (selector >= XEN_GDT_START) {
    const code = (selector & ~3) === XEN_CODE_64 ? FLAT_CODE_64 : FLAT_CODE_32;
    const level = (selector & 3) << 13;
    return { selector, base: 0n, limit: 0xffff_ffff, flags: (isCode ? code : FLAT_DATA) | level };
  }
  if ((selector & 4) !== 0) return undefined;
  const raw = await descriptor(selector >> 3);
  if (raw === undefined) return undefined;
  const low = viewOf(raw).getUint32(0, true);
  const high = viewOf(raw).getUint32(4, true);
  const limit = (high & 0xf_0000) | (low & 0xffff);
  const granular = (high & 0x80_0000) !== 0;
  return {
    selector,
    base: BigInt((((high & 0xff00_0000) | ((high & 0xff) << 16) | (low >>> 16)) >>> 0) >>> 0),
    limit: granular ? limit * 4096 + 4095 : limit,
    flags: high & 0x00f0_ff00,
  };
}

function gdtReader(memory: PhysicalMemory, frames: readonly number[], entries: number): Descriptors {
  return async (index) => {
    const frame = frames[Math.floor(index / 512)];
    if (frame === undefined || frame === 0 || index >= entries) return undefined;
    const raw = new Uint8Array(8);
    return (await memory.read(frame * PAGE_SIZE + (index % 512) * 8, raw)) === 8 ? raw : undefined;
  };
}

/** Frames of a GDT as numbers; what can't be a pfn is no frame. */
const pfns = (frames: readonly (bigint | number)[]): number[] =>
  frames.map((frame) => (frame < 2 ** 40 ? Number(frame) : 0));

/**
 * Registers of a PV processor from its context. Descriptors come from the guest's own GDT; Xen's segments
 * are flat. A 32-bit guest's cr3, rotated in the context, is given as the page table's address.
 */
export async function pvRegisters(context: Uint8Array, memory: PhysicalMemory): Promise<X86Registers> {
  return context.length === VCPU_CONTEXT_SIZE[8] ? pv64(context, memory) : pv32(context, memory);
}

async function pv64(context: Uint8Array, memory: PhysicalMemory): Promise<X86Registers> {
  const cpu = pvContext64.decode(context, "little");
  const general: Partial<Record<X86General, bigint>> = { rip: cpu.rip, rflags: cpu.rflags, rsp: cpu.rsp };
  for (const [i, name] of PV_GENERAL_64.entries()) general[name] = cpu.general[i] ?? 0n;
  const descriptor = gdtReader(memory, pfns(cpu.gdtFrames), Number(cpu.gdtEntries));
  const inKernel = (cpu.flags & BigInt(PV_IN_KERNEL)) !== 0n;
  const gsBase = inKernel ? cpu.gsBaseKernel : cpu.gsBaseUser;
  const segments = await pvSegments(cpu, descriptor);
  // in 64-bit mode the bases of fs and gs are registers of their own
  const based = (selector: number, base: bigint, known: Segment | undefined): Segment => ({
    ...(known ?? { selector, limit: 0, flags: 0 }),
    base,
  });
  return {
    kind: "x86",
    general: complete(general),
    segments: {
      ...segments,
      fs: based(cpu.fs, cpu.fsBase, segments.fs),
      gs: based(cpu.gs, gsBase, segments.gs),
    },
    control: controlOf(cpu.control),
    debug: debugOf(cpu.debug),
    msrs: { kernel_gs_base: inKernel ? cpu.gsBaseUser : cpu.gsBaseKernel },
  };
}

async function pv32(context: Uint8Array, memory: PhysicalMemory): Promise<X86Registers> {
  const cpu = pvContext32.decode(context, "little");
  const general: Partial<Record<X86General, bigint>> = {
    rip: BigInt(cpu.eip),
    rflags: BigInt(cpu.eflags),
    rsp: BigInt(cpu.esp),
  };
  for (const [i, name] of PV_GENERAL_32.entries()) general[name] = BigInt(cpu.general[i] ?? 0);
  const descriptor = gdtReader(memory, pfns(cpu.gdtFrames), cpu.gdtEntries);
  const control = controlOf(cpu.control.map(BigInt));
  const rotated = BigInt(cpu.control[3] ?? 0);
  const cr3 = ((rotated >> 12n) | ((rotated & 0xfffn) << 20n)) << 12n;
  return {
    kind: "x86",
    general: complete(general),
    segments: await pvSegments(cpu, descriptor),
    control: { ...control, cr3 },
    debug: debugOf(cpu.debug.map(BigInt)),
    msrs: {},
  };
}

type Selectors = Readonly<Record<"cs" | "ds" | "es" | "fs" | "gs" | "ss", number>>;

async function pvSegments(
  selectors: Selectors,
  descriptor: Descriptors,
): Promise<Partial<Record<X86SegmentName, Segment>>> {
  const segments: Partial<Record<X86SegmentName, Segment>> = {};
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
    const segment = await pvSegment(selectors[name], name === "cs", descriptor);
    if (segment !== undefined) segments[name] = segment;
  }
  return segments;
}

function controlOf(control: readonly bigint[]): Record<string, bigint> {
  const [cr0 = 0n, , cr2 = 0n, cr3 = 0n, cr4 = 0n] = control;
  return { cr0, cr2, cr3, cr4 };
}

function debugOf(debug: readonly bigint[]): Record<string, bigint> {
  const [dr0 = 0n, dr1 = 0n, dr2 = 0n, dr3 = 0n, , , dr6 = 0n, dr7 = 0n] = debug;
  return { dr0, dr1, dr2, dr3, dr6, dr7 };
}

/** What a stream holds of one PV processor. */
export interface PvVcpuParts {
  readonly id: number;
  readonly context: Uint8Array;
  readonly extended?: Uint8Array | undefined;
  /** xcr0, xcr0_accum, then the processor's area. */
  readonly xsave?: Uint8Array | undefined;
  readonly msrs?: Uint8Array | undefined;
}

export async function pvVcpu(parts: PvVcpuParts, memory: PhysicalMemory): Promise<Vcpu> {
  const { id, context, extended, xsave, msrs } = parts;
  const registers = await pvRegisters(context, memory);
  const xcr0 = wordAt(xsave, 0);
  return {
    id,
    registers: xcr0 === undefined ? registers : { ...registers, control: { ...registers.control, xcr0 } },
    raw: {
      context,
      fpu: context.subarray(0, 512),
      ...(extended === undefined ? {} : { extended }),
      ...(xsave === undefined ? {} : { xsave }),
      ...(msrs === undefined ? {} : { msrs }),
    },
  };
}
