import { AbsentError } from "../findings/errors.js";
import { memoryTotals } from "../guest/memory.js";
import type { Kernel } from "./kernel.js";
import { listEntries, offsetOf } from "./lists.js";
import type { KernelObject } from "./object.js";
import { cpuList, type KernelCpu } from "./cpus.js";
import { readU32 } from "./read.js";
import { isFrozen, stateLetter } from "./task-state.js";
import { LINUX_RULES } from "./rules.js";

/** One task (process or thread) of a guest. Times in nanoseconds. */
export interface Task {
  /** Address of its task_struct. */
  readonly address: bigint;
  readonly pid: number;
  /** Its process: the pid of the thread-group leader. */
  readonly tgid: number;
  readonly ppid: number;
  readonly comm: string;
  /** The letter ps shows. */
  readonly state: string;
  /** The kernel's own number. */
  readonly stateNumber: number;
  readonly exitState: number;
  /** The freezer holds it. */
  readonly frozen: boolean;
  readonly kthread: boolean;
  /** A CPU's idle task: pid 0. */
  readonly idle: boolean;
  readonly cpu: number | undefined;
  /** It was running on its CPU when the guest was saved. */
  readonly onCpu: boolean;
  /** Real user id, as the initial user namespace numbers it. */
  readonly uid: number | undefined;
  /** Since boot, without time asleep. */
  readonly startTime: number | undefined;
  /** Nanoseconds in user mode. */
  readonly utime: number;
  /** Nanoseconds in the kernel. */
  readonly stime: number;
  /** Address of its mm_struct; 0 for kernel threads and what is left of a process. */
  readonly mm: bigint;
  /** Lowest address of its kernel stack. */
  readonly stack: bigint;
  /** The task_struct. */
  readonly object: KernelObject;
}

/** What is listed. */
export interface TaskListOptions {
  /** All threads rather than one task a process. */
  readonly threads?: boolean;
  /** The idle tasks of the CPUs as well. */
  readonly idle?: boolean;
}

/** Flag of kernel threads, PF_KTHREAD. */
const KERNEL_THREAD = 0x0020_0000;

/**
 * Tasks in the kernel's own order: idle tasks first, if asked for, then processes as init_task's list has them, each
 * with its threads, if asked for. What is damaged or missing is noted with the kernel; tasks that can't be read
 * are left out.
 *
 * @throws AbsentError when the kernel's symbols or types are missing.
 */
export async function* listTasks(kernel: Kernel, options: TaskListOptions = {}): AsyncGenerator<Task> {
  const init = await kernel.object("init_task");
  if (options.idle === true) yield* idleTasks(kernel);
  // tasks don't overlap in memory
  const most = FEWEST_TASKS + Math.floor(memoryTotals(kernel.guest.memory).present / init.type.size);
  let count = 0;
  for await (const task of leadersAndThreads(kernel, init, options)) {
    if (count === most) {
      kernel.note(LINUX_RULES.tooLong, `there are more tasks than the guest's memory can hold, ${most}`);
      return;
    }
    count += 1;
    yield task;
  }
}

/** Tasks that are allowed for whatever the memory that is there. */
const FEWEST_TASKS = 100;

async function* leadersAndThreads(
  kernel: Kernel,
  init: KernelObject,
  options: TaskListOptions,
): AsyncGenerator<Task> {
  const hasThreads = init.has("thread_node");
  for await (const address of listEntries(kernel, init.addressOf("tasks"), "task_struct", "tasks")) {
    const task = await readTask(kernel, address);
    if (task === undefined) continue;
    yield task;
    if (options.threads !== true || !hasThreads) continue;
    yield* otherThreads(kernel, task);
  }
}

async function* otherThreads(kernel: Kernel, leader: Task): AsyncGenerator<Task> {
  const signal = leader.object.pointer("signal");
  if (signal === 0n) return;
  const loaded = await kernel.tryLoad("signal_struct", signal);
  if (loaded === undefined || !loaded.has("thread_head")) return;
  const head = loaded.addressOf("thread_head");
  for await (const address of listEntries(kernel, head, "task_struct", "thread_node")) {
    if (address === leader.address) continue;
    const task = await readTask(kernel, address);
    if (task !== undefined) yield task;
  }
}

async function* idleTasks(kernel: Kernel): AsyncGenerator<Task> {
  for (const { cpu, idle } of await knownCpus(kernel)) {
    if (idle === undefined) continue;
    const task = await readTask(kernel, idle);
    // an idle task's own number of its CPU says what it ran on last
    if (task !== undefined) yield { ...task, cpu, idle: true };
  }
}

/** The CPUs; none, which is noted, where the kernel's symbols don't name their run queues. */
async function knownCpus(kernel: Kernel): Promise<readonly KernelCpu[]> {
  try {
    return await cpuList(kernel);
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(LINUX_RULES.noSymbol, `idle tasks are left out: ${error.message}`);
    return [];
  }
}

/** The task whose task_struct is at `address`; undefined, and noted, when it can't be read. */
export async function readTask(kernel: Kernel, address: bigint): Promise<Task | undefined> {
  try {
    return await decodeTask(kernel, await kernel.load("task_struct", address));
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(LINUX_RULES.memory, `a task is left out: ${error.message}`);
    return undefined;
  }
}

async function decodeTask(kernel: Kernel, object: KernelObject): Promise<Task> {
  const stateNumber = object.numberOf("__state", "state") ?? 0;
  const exitState = object.numberOf("exit_state") ?? 0;
  const flags = object.number("flags");
  const mm = object.pointer("mm");
  const pid = object.number("pid");
  return {
    address: object.address,
    pid,
    tgid: object.number("tgid"),
    ppid: await parentOf(kernel, object),
    comm: object.text("comm"),
    state: stateLetter(stateNumber, exitState),
    stateNumber,
    exitState,
    frozen: isFrozen(stateNumber) || isFrozenByFlag(kernel, flags),
    kthread: (flags & KERNEL_THREAD) !== 0,
    idle: false,
    cpu: object.numberOf("thread_info.cpu", "cpu"),
    onCpu: (object.numberOf("on_cpu") ?? 0) !== 0,
    uid: await userOf(kernel, object),
    startTime: object.numberOf("start_time"),
    utime: object.numberOf("utime") ?? 0,
    stime: object.numberOf("stime") ?? 0,
    mm,
    stack: object.pointer("stack"),
    object,
  };
}

/** Before Linux 6.1 a flag, PF_FROZEN, said so. */
const FROZEN_FLAG = 0x1_0000;

function isFrozenByFlag(kernel: Kernel, flags: number): boolean {
  if ((flags & FROZEN_FLAG) === 0) return false;
  const [, major = "", minor = ""] = /^(\d+)\.(\d+)/.exec(kernel.release ?? "") ?? [];
  return Number(major) * 1000 + Number(minor) < 6001;
}

async function parentOf(kernel: Kernel, object: KernelObject): Promise<number> {
  const parent = object.pointer("real_parent");
  if (parent === object.address || parent === 0n) return 0;
  return (await readU32(kernel.space, parent + offsetOf(kernel, "task_struct", "tgid"))) ?? 0;
}

async function userOf(kernel: Kernel, object: KernelObject): Promise<number | undefined> {
  const path = object.which("real_cred", "cred");
  if (path === undefined || object.pointer(path) === 0n) return undefined;
  return readU32(kernel.space, object.pointer(path) + offsetOf(kernel, "cred", "uid"));
}
