import type { Vcpu } from "../../guest/vcpu.js";
import { AbsentError, FormatError } from "../../findings/errors.js";
import { cpuList, type KernelCpu } from "../cpus.js";
import type { Kernel } from "../kernel.js";
import { LINUX_RULES } from "../rules.js";
import { listTasks, type Task } from "../tasks.js";
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
 * The CPUs with the vCPUs they are: by the base of their per-CPU areas; where an input doesn't have it (an ELF core of
 * aarch64), a vCPU in the kernel by the stack that its stack pointer is on, one in user mode by its own number, if the
 * process that this CPU ran maps the code it is in.
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
  const cpus = await withTasks(kernel, await knownCpus(kernel));
  const matched = new Set(cpus.flatMap(({ vcpu }) => (vcpu === undefined ? [] : [vcpu.id])));
  const free = kernel.guest.vcpus.filter(({ id }) => !matched.has(id));
  if (free.length === 0) return cpus;
  const result: KernelCpu[] = [];
  for (const cpu of cpus) {
    const vcpu = cpu.vcpu ?? (await attempt(() => vcpuOf(kernel, cpu, free)));
    result.push(vcpu === undefined ? cpu : { ...cpu, vcpu });
  }
  return result;
}

async function knownCpus(kernel: Kernel): Promise<readonly KernelCpu[]> {
  try {
    return await cpuList(kernel);
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(LINUX_RULES.noSymbol, `what CPUs ran is known by tasks alone: ${error.message}`);
    return [];
  }
}

/** Tasks that say themselves that they are on a CPU, for CPUs whose run queue isn't known. */
async function withTasks(kernel: Kernel, cpus: readonly KernelCpu[]): Promise<readonly KernelCpu[]> {
  if (cpus.length > 0 && cpus.every(({ current }) => current !== undefined)) return cpus;
  const running = new Map<number, bigint>();
  try {
    for await (const { address, onCpu, cpu } of listTasks(kernel, { threads: true }))
      if (onCpu && cpu !== undefined) running.set(cpu, address);
  } catch (error) {
    if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
  }
  const found = cpus.map((cpu) => {
    const current = cpu.current ?? running.get(cpu.cpu);
    running.delete(cpu.cpu);
    return current === undefined ? cpu : { ...cpu, current };
  });
  return [...found, ...Array.from(running, ([cpu, current]): KernelCpu => ({ cpu, online: true, current }))];
}

async function attempt(get: () => Promise<Vcpu | undefined>): Promise<Vcpu | undefined> {
  try {
    return await get();
  } catch (error) {
    if (error instanceof AbsentError || error instanceof FormatError) return undefined;
    throw error;
  }
}

async function vcpuOf(
  kernel: Kernel,
  { cpu, current }: KernelCpu,
  vcpus: readonly Vcpu[],
): Promise<Vcpu | undefined> {
  if (current === undefined) return undefined;
  const own = await taskStack(kernel, current);
  const spans = [...(own === undefined ? [] : [own]), ...(await cpuStacks(kernel, cpu))];
  const inKernel = vcpus.find((vcpu) => {
    const { sp = 0n } = placeOf(vcpu) ?? {};
    return spans.some(({ low, high }) => sp >= low && sp < high);
  });
  if (inKernel !== undefined) return inKernel;
  const named = vcpus.find(({ id }) => id === cpu);
  const place = named === undefined ? undefined : placeOf(named);
  if (place === undefined || place.pc >> 63n !== 0n) return undefined;
  const mm = (await kernel.load("task_struct", current)).pointer("mm");
  if (mm === 0n) return undefined;
  const space = await kernel.processSpace((await kernel.load("mm_struct", mm)).pointer("pgd"));
  return (await space.translate(place.pc)) === undefined ? undefined : named;
}

function placeOf({ registers }: Vcpu): { readonly pc: bigint; readonly sp: bigint } | undefined {
  if (registers?.kind === "x86") return { pc: registers.general.rip, sp: registers.general.rsp };
  return registers?.kind === "aarch64" ? registers : undefined;
}
