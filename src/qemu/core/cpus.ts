import type { Architecture } from "../../guest/image.js";
import {
  type Aarch64Registers,
  type Segment,
  type Vcpu,
  X86_GENERAL,
  type X86General,
  type X86Registers,
  type X86SegmentName,
} from "../../guest/vcpu.js";
import { readable } from "./machine.js";
import type { Program, Value } from "./value.js";

const MOST_CPUS = 4096;
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

/**
 * The processors as QEMU's own structures have them, found through debug information. Under KVM these are what
 * QEMU last asked the kernel for, so they come with a caveat.
 */
export async function readVcpus(
  program: Program,
  arch: Architecture,
  accelerator: string | undefined,
): Promise<Vcpu[]> {
  const cpus = await readable(() => listCpus(program));
  const vcpus: Vcpu[] = [];
  for (const [i, cpu] of (cpus ?? []).entries()) {
    const id = cpu.has("cpu_index") ? cpu.signed("cpu_index") : i;
    const registers = await readable(() => registersOf(program, arch, cpu));
    vcpus.push({
      id,
      ...(registers === undefined ? {} : { registers }),
      ...(accelerator === "tcg"
        ? {}
        : { caveat: "registers as QEMU last had them from the kernel: may be stale under KVM" }),
    });
  }
  return vcpus.sort((a, b) => a.id - b.id);
}

/** All CPUState structures: a queue named `cpus`, later `cpus_queue`; a plain list from `first_cpu` before. */
async function listCpus(program: Program): Promise<Value[]> {
  const queue = await program.variable("cpus_queue", "cpus");
  let cpu: Value | undefined;
  if (queue?.has("tqh_first") === true) cpu = await queue.follow("tqh_first");
  else cpu = await (await program.variable("first_cpu"))?.target();
  const cpus: Value[] = [];
  const seen = new Set<number>();
  while (cpu !== undefined && cpus.length < MOST_CPUS && !seen.has(cpu.address)) {
    seen.add(cpu.address);
    cpus.push(cpu);
    cpu = await cpu.follow(cpu.any("node.tqe_next", "next_cpu") ?? "next_cpu");
  }
  return cpus;
}

async function registersOf(
  program: Program,
  arch: Architecture,
  cpu: Value,
): Promise<X86Registers | Aarch64Registers | undefined> {
  if (arch.name === "x86_64" || arch.name === "i386") {
    const env = await environment(program, cpu, "X86CPU", "CPUX86State");
    return env === undefined ? undefined : x86Registers(env);
  }
  if (arch.name === "aarch64") {
    const env = await environment(program, cpu, "ARMCPU", "CPUARMState");
    return env?.has("xregs") === true ? aarch64Registers(env) : undefined;
  }
  return undefined;
}

/** The architecture's state: within its CPU object; in old QEMUs the list is of the state itself. */
async function environment(
  program: Program,
  cpu: Value,
  object: string,
  state: string,
): Promise<Value | undefined> {
  if (cpu.has("eip") || cpu.has("xregs")) return cpu;
  const type = program.type(object, "ArchCPU");
  if (type === undefined) return undefined;
  const whole = type.field("env");
  const stateType = program.type(state, "CPUArchState");
  if (whole === undefined || stateType === undefined) return undefined;
  return program.read(stateType, cpu.address + whole.offset, `${object}.env`);
}

function x86Registers(env: Value): X86Registers {
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

const X_COUNT = 31;
const SIGN = 0x8000_0000;

function aarch64Registers(env: Value): Aarch64Registers {
  const x = env.bigints("xregs");
  // flags are kept apart: N and V in the sign bits, Z inverted, C as a number
  const flags =
    (((env.number("NF") & SIGN) >>> 0) |
      (env.number("ZF") === 0 ? 1 << 30 : 0) |
      (env.number("CF") << 29)) >>>
    0;
  const overflow = ((env.number("VF") & SIGN) >>> 3) >>> 0;
  const kept = env.bigint("pstate") | (env.has("daif") ? env.bigint("daif") : 0n);
  return {
    kind: "aarch64",
    x: x.slice(0, X_COUNT),
    sp: x[X_COUNT] ?? 0n,
    pc: env.bigint("pc"),
    pstate: kept | BigInt(flags) | BigInt(overflow),
    system: {},
  };
}
