import { AARCH64, ARM } from "../../guest/arch/arm.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import { I386, X86_64 } from "../../guest/arch/x86.js";
import { PPC64 } from "../../guest/arch/ppc64.js";
import { S390X } from "../../guest/arch/s390x.js";
import type { Vcpu } from "../../guest/vcpu.js";
import { aarch64Registers, armArchitecture, armRegisters } from "../cpu/arm.js";
import type { CpuFields } from "../cpu/fields.js";
import { readable } from "./machine.js";
import { ppc64Architecture, ppc64Registers } from "../cpu/ppc64.js";
import { s390xRegisters } from "../cpu/s390x.js";
import type { Program, Value } from "./value.js";
import { x86Registers } from "../cpu/x86.js";

const MOST_CPUS = 4096;

/** vCPUs of one kind: the names of QEMU's structures for them, and what is read of them. */
interface Kind {
  readonly machines: readonly Architecture[];
  /** Type of the object; later QEMUs have one name for all. */
  readonly object: string;
  /** Type of the architecture's state within it. */
  readonly state: string;
  /** A field that only this state has. */
  readonly mark: string;
  /** What the guest is, where one program emulates several. */
  readonly architecture?: (env: CpuFields) => Architecture;
  readonly registers: (env: CpuFields, id: number, arch: Architecture) => Vcpu["registers"];
}

const KINDS: readonly Kind[] = [
  {
    machines: [X86_64, I386],
    object: "X86CPU",
    state: "CPUX86State",
    mark: "eip",
    registers: x86Registers,
  },
  {
    machines: [AARCH64, ARM],
    object: "ARMCPU",
    state: "CPUARMState",
    mark: "uncached_cpsr",
    architecture: armArchitecture,
    registers: (env, id, arch) =>
      arch.machine === ARM.machine ? armRegisters(env, id) : aarch64Registers(env),
  },
  {
    machines: [PPC64],
    object: "PowerPCCPU",
    state: "CPUPPCState",
    mark: "gpr",
    architecture: ppc64Architecture,
    registers: ppc64Registers,
  },
  { machines: [S390X], object: "S390CPU", state: "CPUS390XState", mark: "psw", registers: s390xRegisters },
];

const kindOf = ({ machine }: Architecture): Kind | undefined =>
  KINDS.find(({ machines }) => machines.some((known) => known.machine === machine));

/**
 * The vCPUs as QEMU's own structures have them, found through debug information. Under KVM these are what
 * QEMU last asked the kernel for, so they come with a caveat.
 */
export async function readVcpus(
  program: Program,
  arch: Architecture,
  accelerator: string | undefined,
): Promise<Vcpu[]> {
  const cpus = await readable(() => listCpus(program));
  const kind = kindOf(arch);
  const vcpus: Vcpu[] = [];
  for (const [i, cpu] of (cpus ?? []).entries()) {
    const id = cpu.has("cpu_index") ? cpu.signed("cpu_index") : i;
    const registers = await readable(async () => {
      const env = kind && (await environment(program, cpu, kind));
      return env && kind.registers(new DebugFields(env), id, arch);
    });
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

/** The guest's architecture by its first vCPU: width and byte order, where the program emulates several. */
export async function architectureOfCpus(program: Program, arch: Architecture): Promise<Architecture> {
  const kind = kindOf(arch);
  if (kind?.architecture === undefined) return arch;
  const [cpu] = (await readable(() => listCpus(program))) ?? [];
  const env = cpu && (await readable(() => environment(program, cpu, kind)));
  return (env && (await readable(async () => kind.architecture?.(new DebugFields(env))))) ?? arch;
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

/** The architecture's state: within its CPU object; in old QEMUs the list is of the state itself. */
async function environment(
  program: Program,
  cpu: Value,
  { object, state, mark }: Kind,
): Promise<Value | undefined> {
  if (cpu.has(mark)) return cpu;
  const whole = program.type(object, "ArchCPU")?.field("env");
  const stateType = program.type(state, "CPUArchState");
  if (whole === undefined || stateType === undefined) return undefined;
  const env = await program.read(stateType, cpu.address + whole.offset, `${object}.env`);
  return env.has(mark) ? env : undefined;
}

/** The fields of a vCPU in a process, through debug information. */
class DebugFields implements CpuFields {
  readonly #value: Value;

  constructor(value: Value) {
    this.#value = value;
  }

  has(name: string): boolean {
    return this.#value.has(name);
  }

  bigint(name: string): bigint | undefined {
    return this.has(name) ? this.#value.bigint(name) : undefined;
  }

  bigints(name: string): readonly bigint[] {
    // a register was a structure in some versions: not an array of numbers
    const element = this.#value.type.field(name)?.type.peel().target.peel();
    return element?.kind === "structure" ? [] : this.has(name) ? this.#value.bigints(name) : [];
  }

  struct(name: string): CpuFields | undefined {
    return this.has(name) ? new DebugFields(this.#value.member(name)) : undefined;
  }

  structs(name: string): readonly CpuFields[] {
    return this.has(name) ? this.#value.elements(name).map((element) => new DebugFields(element)) : [];
  }
}
