import {
  type Segment,
  X86_GENERAL,
  type X86General,
  type X86Registers,
  type X86SegmentName,
} from "../../guest/vcpu.js";
import { type CpuFields, namedRegisters } from "./fields.js";

/** The first eight of `regs`, in the encoding's order; a 32-bit emulator has no more, `r8` … have their numbers. */
const ENCODED = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
/** Order of `segs`. */
const SEGMENTS: readonly X86SegmentName[] = ["es", "cs", "ss", "ds", "fs", "gs"];
/** Control registers that `cr` has under their numbers; 1 doesn't exist, 8 is the local APIC's. */
const CONTROL = [0, 2, 3, 4] as const;
/** MSRs by their field. */
const MSRS = {
  efer: "efer",
  star: "star",
  lstar: "lstar",
  cstar: "cstar",
  sfmask: "fmask",
  kernel_gs_base: "kernelgsbase",
  sysenter_cs: "sysenter_cs",
  sysenter_esp: "sysenter_esp",
  sysenter_eip: "sysenter_eip",
  pat: "pat",
  tsc: "tsc",
  tsc_aux: "tsc_aux",
} as const;

/** Registers out of a CPUX86State; undefined when the general ones are missing. */
export function x86Registers(env: CpuFields): X86Registers | undefined {
  const regs = env.bigints("regs");
  const [rip, rflags] = [env.bigint("eip"), env.bigint("eflags")];
  if (regs.length < ENCODED.length || rip === undefined || rflags === undefined) return undefined;
  const valueOf = (name: X86General): bigint => {
    if (name === "rip") return rip;
    if (name === "rflags") return rflags;
    const index = ENCODED.indexOf(name);
    return regs[index === -1 ? Number(name.slice(1)) : index] ?? 0n;
  };
  const general = Object.fromEntries(X86_GENERAL.map((name) => [name, valueOf(name)])) as Record<
    X86General,
    bigint
  >;
  const [gdt, idt] = [tableOf(env, "gdt"), tableOf(env, "idt")];
  return {
    kind: "x86",
    general,
    segments: segmentsOf(env),
    ...(gdt === undefined ? {} : { gdt }),
    ...(idt === undefined ? {} : { idt }),
    control: controlOf(env),
    debug: debugOf(env),
    msrs: namedRegisters(env, MSRS),
  };
}

function segmentsOf(env: CpuFields): Partial<Record<X86SegmentName, Segment>> {
  const segments: Partial<Record<X86SegmentName, Segment>> = {};
  const add = (name: X86SegmentName | undefined, fields: CpuFields | undefined): void => {
    const segment = fields && segmentOf(fields);
    if (name !== undefined && segment !== undefined) segments[name] = segment;
  };
  for (const [i, fields] of env.structs("segs").entries()) add(SEGMENTS[i], fields);
  add("ldt", env.struct("ldt"));
  add("tr", env.struct("tr"));
  return segments;
}

function segmentOf(fields: CpuFields): Segment | undefined {
  const [selector, base, limit, flags] = ["selector", "base", "limit", "flags"].map((name) =>
    fields.bigint(name),
  );
  if (selector === undefined || base === undefined || limit === undefined || flags === undefined)
    return undefined;
  return { selector: Number(selector), base, limit: Number(limit), flags: Number(flags) };
}

/** GDTR or IDTR, kept as a segment of which two fields count. */
function tableOf(env: CpuFields, name: string): { base: bigint; limit: number } | undefined {
  const fields = env.struct(name);
  const [base, limit] = [fields?.bigint("base"), fields?.bigint("limit")];
  return base === undefined || limit === undefined ? undefined : { base, limit: Number(limit) };
}

function controlOf(env: CpuFields): Record<string, bigint> {
  const saved = env.bigints("cr");
  const control: Record<string, bigint> = {};
  for (const number of CONTROL) {
    const value = saved[number];
    if (value !== undefined) control[`cr${number}`] = value;
  }
  const xcr0 = env.bigint("xcr0");
  if (xcr0 !== undefined) control["xcr0"] = xcr0;
  return control;
}

function debugOf(env: CpuFields): Record<string, bigint> {
  const debug: Record<string, bigint> = {};
  // 4 and 5 are other names of 6 and 7
  for (const [i, value] of env.bigints("dr").entries())
    if (value !== undefined && i !== 4 && i !== 5) debug[`dr${i}`] = value;
  return debug;
}
