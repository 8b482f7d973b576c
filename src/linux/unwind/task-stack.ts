import { cpuList } from "../cpus.js";
import type { Kernel } from "../kernel.js";
import type { Task } from "../tasks.js";
import type { StackStart } from "./backtrace.js";

/** From where a task's stack is unwound: the registers of the vCPU it was running on, or where it went to sleep. */
export async function stackStart(kernel: Kernel, task: Pick<Task, "address" | "onCpu" | "cpu">): Promise<StackStart> {
  const running = (await cpuList(kernel)).find(({ current, online }) => online && current === task.address);
  if (running !== undefined) {
    const { cpu, vcpu } = running;
    return { task: task.address, cpu, ...(vcpu === undefined ? {} : { vcpu }) };
  }
  // on its way onto a CPU or off it: neither says from where
  if (task.onCpu && task.cpu !== undefined) return { task: task.address, cpu: task.cpu };
  return { task: task.address };
}
