import type { Vcpu } from "../../guest/vcpu.js";
import { AbsentError, FormatError } from "../../io/errors.js";
import { cpuList, type KernelCpu } from "../cpus.js";
import type { Kernel } from "../kernel.js";
import type { Task } from "../tasks.js";
import type { StackStart } from "./backtrace.js";
import { cpuStacks, taskStack } from "./stacks.js";

/** From where a task's stack is unwound: the registers of the vCPU it was running on, or where it went to sleep. */
export async function stackStart(
  kernel: Kernel,
  task: Pick<Task, "address" | "onCpu" | "cpu">,
): Promise<StackStart> {
  const running = (await runningCpus(kernel)).find(({ current }) => current === task.address);
  const { cpu = task.cpu, vcpu, online = false } = running ?? {};
  // a CPU that is not online runs nothing, but in a panic it still has the task it was stopped in
  if (cpu !== undefined && (vcpu !== undefined || online || task.onCpu)) {
    return { task: task.address, cpu, ...(vcpu === undefined ? {} : { vcpu }) };
  }
  return { task: task.address };
}

const RUNNING = new WeakMap<Kernel, Promise<readonly KernelCpu[]>>();

/**
 * The CPUs with the vCPUs they are: by the base of their per-CPU areas, and where an input doesn't have it (an ELF
 * core of aarch64), by stacks: the vCPU whose stack pointer is on one of the stacks of a CPU or of its task.
 */
export function runningCpus(kernel: Kernel): Promise<readonly KernelCpu[]> {
  let known = RUNNING.get(kernel);
  if (known === undefined) {
    known = matchByStacks(kernel);
    RUNNING.set(kernel, known);
  }
  return known;
}

async function matchByStacks(kernel: Kernel): Promise<readonly KernelCpu[]> {
  const cpus = await cpuList(kernel);
  const matched = new Set(cpus.flatMap(({ vcpu }) => (vcpu === undefined ? [] : [vcpu.id])));
  const free = kernel.guest.vcpus.filter(({ id }) => !matched.has(id));
  if (free.length === 0) return cpus;
  const result: KernelCpu[] = [];
  for (const cpu of cpus) {
    const vcpu = cpu.vcpu ?? (await onStacks(kernel, cpu, free));
    result.push(vcpu === undefined ? cpu : { ...cpu, vcpu });
  }
  return result;
}

async function onStacks(kernel: Kernel, cpu: KernelCpu, vcpus: readonly Vcpu[]): Promise<Vcpu | undefined> {
  if (cpu.current === undefined) return undefined;
  try {
    const own = await taskStack(kernel, cpu.current);
    const spans = [...(own === undefined ? [] : [own]), ...(await cpuStacks(kernel, cpu.cpu))];
    return vcpus.find((vcpu) => {
      const sp = stackPointer(vcpu);
      return sp !== undefined && spans.some(({ low, high }) => sp >= low && sp < high);
    });
  } catch (error) {
    if (error instanceof AbsentError || error instanceof FormatError) return undefined;
    throw error;
  }
}

function stackPointer({ registers }: Vcpu): bigint | undefined {
  if (registers?.kind === "x86") return registers.general.rsp;
  return registers?.kind === "aarch64" ? registers.sp : undefined;
}
