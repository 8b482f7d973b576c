import type { Vcpu } from "../guest/vcpu.js";
import { AbsentError } from "../findings/errors.js";
import type { Kernel } from "./kernel.js";
import { readUpTo } from "./read.js";
import { LINUX_RULES } from "./rules.js";

/** A CPU of the guest, as its kernel numbers it. */
export interface KernelCpu {
  readonly cpu: number;
  readonly online: boolean;
  /** The saved vCPU it is. */
  readonly vcpu?: Vcpu;
  /** Address of the task that it ran. */
  readonly current?: bigint;
  /** Address of its idle task. */
  readonly idle?: bigint;
  /** Nanoseconds of its run queue's clock. */
  readonly clock?: number;
}

/** Largest number of CPUs a kernel is built for. */
const MOST_CPUS = 8192;

/**
 * The CPUs that have an area of per-CPU variables, with the saved vCPUs they are: matched by the base of that
 * area, which the kernel keeps in the GS base (x86_64) or TPIDR_EL1 (aarch64).
 *
 * @throws AbsentError when the kernel's symbols or types are missing.
 */
export async function cpuList(kernel: Kernel): Promise<readonly KernelCpu[]> {
  const known = CPUS.get(kernel);
  if (known !== undefined) return known;
  const cpus = await readCpus(kernel);
  CPUS.set(kernel, cpus);
  return cpus;
}

const CPUS = new WeakMap<Kernel, readonly KernelCpu[]>();

async function readCpus(kernel: Kernel): Promise<readonly KernelCpu[]> {
  kernel.needSymbol("runqueues");
  kernel.struct("rq");
  const online = await cpuMask(kernel, "online");
  const possible = (await cpuMask(kernel, "possible")) ?? online ?? kernel.guest.vcpus.map(({ id }) => id);
  const isOnline = new Set(online ?? possible);
  const offsets = new Map<bigint, number>();
  const cpus: KernelCpu[] = [];
  for (const cpu of possible) {
    try {
      offsets.set(await kernel.perCpuOffset(cpu), cpu);
      const queue = await kernel.perCpu("runqueues", cpu);
      const current = queue.pointer("curr");
      const idle = queue.pointer("idle");
      cpus.push({
        cpu,
        online: isOnline.has(cpu),
        ...(current === 0n ? {} : { current }),
        ...(idle === 0n ? {} : { idle }),
        ...(queue.has("clock") ? { clock: queue.number("clock") } : {}),
      });
    } catch (error) {
      if (!(error instanceof AbsentError)) throw error;
      kernel.note(LINUX_RULES.memory, `CPU ${cpu}: ${error.message}`);
      cpus.push({ cpu, online: isOnline.has(cpu) });
    }
  }
  return withVcpus(kernel, cpus, offsets);
}

function withVcpus(
  kernel: Kernel,
  cpus: readonly KernelCpu[],
  offsets: ReadonlyMap<bigint, number>,
): readonly KernelCpu[] {
  const matched = new Map<number, Vcpu>();
  for (const vcpu of kernel.guest.vcpus) {
    const base = areaOf(vcpu);
    const cpu = base === undefined ? undefined : offsets.get(base);
    if (cpu !== undefined && !matched.has(cpu)) matched.set(cpu, vcpu);
  }
  return cpus.map((cpu) => {
    const vcpu = matched.get(cpu.cpu);
    return vcpu === undefined ? cpu : { ...cpu, vcpu };
  });
}

/** Base of the per-CPU area of the CPU that a saved vCPU is. */
function areaOf({ registers }: Vcpu): bigint | undefined {
  if (registers?.kind === "aarch64") return registers.system.tpidr_el1;
  if (registers?.kind !== "x86") return undefined;
  const inUser = registers.general.rip < 1n << 63n;
  const gs = registers.segments.gs?.base;
  const kernelGs = registers.msrs.kernel_gs_base;
  // on the way into the kernel and out of it the two are not swapped yet
  const [first, second] = inUser ? [kernelGs, gs] : [gs, kernelGs];
  const isKernel = (base: bigint | undefined): boolean => base !== undefined && base >= 1n << 63n;
  if (isKernel(first)) return first;
  return isKernel(second) ? second : first;
}

/** Numbers of the CPUs in a mask; undefined when the kernel has none by that name. */
async function cpuMask(kernel: Kernel, name: "online" | "possible"): Promise<number[] | undefined> {
  const address = kernel.symbol(`__cpu_${name}_mask`) ?? kernel.symbol(`cpu_${name}_bits`);
  if (address === undefined) return undefined;
  const size = Math.min(kernel.types?.find("struct", "cpumask")?.size ?? 8, MOST_CPUS / 8);
  const bytes = await readUpTo(kernel.space, address, size);
  const cpus: number[] = [];
  for (const [i, byte] of bytes.entries())
    for (let bit = 0; bit < 8; bit += 1) if ((byte & (1 << bit)) !== 0) cpus.push(8 * i + bit);
  return cpus.length === 0 ? undefined : cpus;
}
