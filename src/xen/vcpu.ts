import { viewOf } from "../binary/layout.js";
import type { PhysicalMemory } from "../guest/memory.js";
import { pvRegisters } from "../guest/pv-registers.js";
import {
  completeGeneral,
  type Segment,
  type Vcpu,
  type X86General,
  type X86Registers,
  type X86SegmentName,
} from "../guest/vcpu.js";
import type { HvmContextEntry } from "./hvm-context/entries.js";
import { CPU_GENERAL, CPU_SEGMENTS, saveCpu } from "./hvm-context/layout.js";

/**
 * Access rights as Xen's HVM CPU record has them (descriptor bits 40–47 in bits 0–7, 52–55 in bits 8–11)
 * as the descriptor's high word has them.
 */
function segmentFlags(accessRights: number): number {
  return ((accessRights & 0xff) << 8) | ((accessRights & 0xf00) << 12);
}

/** Registers of an HVM vCPU from its CPU record; `body` may lack the fields that later releases added. */
function hvmRegisters(body: Uint8Array): X86Registers {
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
    general: completeGeneral(general),
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

/** Entries of an HVM save context that belong to a vCPU: typecode → name among the raw areas. */
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

/** Whether entries of a typecode belong to a vCPU. */
export function isVcpuRecord(typecode: number): boolean {
  return HVM_VCPU_ENTRIES.has(typecode);
}

/** The vCPUs of an HVM save context, by id. One that was down has interrupt and MTRR state, but no registers. */
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

/** What a stream holds of one PV vCPU. */
export interface PvVcpuParts {
  readonly id: number;
  readonly context: Uint8Array;
  readonly extended?: Uint8Array | undefined;
  /** xcr0, xcr0_accum, then the XSAVE area. */
  readonly xsave?: Uint8Array | undefined;
  readonly msrs?: Uint8Array | undefined;
}

/** A PV vCPU, with descriptor tables looked up in `memory`. */
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
