import {
  type Segment,
  X86_GENERAL,
  type X86General,
  type X86Registers,
  type X86SegmentName,
} from "../../guest/vcpu.js";
import type { Value } from "../core/value.js";

/** Order of `env.segs`. */
const SEGS = ["es", "cs", "ss", "ds", "fs", "gs"] as const;
/** MSRs by their field in CPUX86State. */
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

/** Registers out of a CPUX86State. */
export function x86Registers(env: Value): X86Registers {
  const regs = env.bigints("regs");
  // the processor's own numbering: rax rcx rdx rbx rsp rbp rsi rdi r8 …
  const numbered = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
  const at = (name: X86General): bigint => {
    if (name === "rip") return env.bigint("eip");
    if (name === "rflags") return env.bigint("eflags");
    const index = numbered.indexOf(name);
    return regs[index === -1 ? Number(name.slice(1)) : index] ?? 0n;
  };
  const general = Object.fromEntries(X86_GENERAL.map((name) => [name, at(name)]));
  const segments: Partial<Record<X86SegmentName, Segment>> = {};
  for (const [i, value] of env.elements("segs").entries()) {
    const name = SEGS[i];
    if (name !== undefined) segments[name] = segmentOf(value);
  }
  segments.ldt = segmentOf(env.member("ldt"));
  segments.tr = segmentOf(env.member("tr"));
  const table = (path: string): { base: bigint; limit: number } => ({
    base: env.bigint(`${path}.base`),
    limit: env.number(`${path}.limit`),
  });
  const cr = env.bigints("cr");
  const debug = env.has("dr") ? env.bigints("dr") : [];
  const msrs = Object.entries(MSRS).filter(([, field]) => env.has(field));
  return {
    kind: "x86",
    general: general as Record<X86General, bigint>,
    segments,
    gdt: table("gdt"),
    idt: table("idt"),
    control: { cr0: cr[0] ?? 0n, cr2: cr[2] ?? 0n, cr3: cr[3] ?? 0n, cr4: cr[4] ?? 0n },
    debug: Object.fromEntries(
      [0, 1, 2, 3, 6, 7].flatMap((i) => (debug[i] === undefined ? [] : [[`dr${i}`, debug[i]]])),
    ),
    msrs: Object.fromEntries(msrs.map(([name, field]) => [name, env.bigint(field)])),
  };
}

function segmentOf(value: Value): Segment {
  return {
    selector: value.number("selector"),
    base: value.bigint("base"),
    limit: value.number("limit"),
    flags: value.number("flags"),
  };
}
