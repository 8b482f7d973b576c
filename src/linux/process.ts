import { AbsentError } from "../findings/errors.js";
import { cpuList } from "./cpus.js";
import type { Kernel } from "./kernel.js";
import { listEntries, offsetOf } from "./lists.js";
import { decodeText, type KernelObject } from "./object.js";
import { readU32, readUpTo } from "./read.js";
import type { Task } from "./tasks.js";

/** What a process's memory says of it. Sizes in bytes. */
export interface ProcessMemory {
  /** Command line, one argument each; undefined where it can't be read. */
  readonly commandLine?: readonly string[];
  /** Why there is no command line, or not all of it. */
  readonly whyNoCommandLine?: string;
  /** Resident: pages of files, of its own and shared. */
  readonly rss?: number;
  /** Virtual. */
  readonly size?: number;
}

/** Bytes of a command line or environment that are read; the kernel's own limit of one argument is 128 KiB. */
const MOST_ARGUMENTS = 256 << 10;
/** Counters of mm_struct.rss_stat that count resident pages: files, anonymous, shared (MM_FILEPAGES …). */
const RESIDENT = [0, 1, 3];

/** The process last asked about, by kernel: its threads come one after another, and have the same memory. */
const LAST = new WeakMap<
  Kernel,
  { readonly mm: bigint; readonly signal: bigint; readonly memory: ProcessMemory }
>();

/** Memory of a user task; empty for kernel threads and processes that have given up their memory. */
export async function processMemory(kernel: Kernel, task: Task): Promise<ProcessMemory> {
  const { mm } = task;
  if (mm === 0n || task.kthread) return {};
  const signal = task.object.has("signal") ? task.object.pointer("signal") : 0n;
  const last = LAST.get(kernel);
  if (last?.mm === mm && last.signal === signal) return last.memory;
  const memory = await readMemory(kernel, task);
  LAST.set(kernel, { mm, signal, memory });
  return memory;
}

async function readMemory(kernel: Kernel, task: Task): Promise<ProcessMemory> {
  try {
    const mm = await kernel.load("mm_struct", task.mm);
    return {
      ...(await commandLine(kernel, mm)),
      ...(await resident(kernel, mm, task)),
    };
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    return { whyNoCommandLine: error.message };
  }
}

async function commandLine(kernel: Kernel, mm: KernelObject): Promise<ProcessMemory> {
  try {
    const { text, why } = await userText(kernel, mm, "arg_start", "arg_end");
    return { commandLine: text, ...(why === undefined ? {} : { whyNoCommandLine: why }) };
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    return { whyNoCommandLine: error.message };
  }
}

/** NUL-ended texts between two addresses of a process, through its own page tables. */
async function userText(
  kernel: Kernel,
  mm: KernelObject,
  from: string,
  to: string,
): Promise<{ readonly text: readonly string[]; readonly why?: string }> {
  const start = mm.pointer(from);
  const length = mm.pointer(to) - start;
  if (start === 0n || length <= 0n) return { text: [] };
  const space = await kernel.processSpace(mm.pointer("pgd"));
  const wanted = Number(length < BigInt(MOST_ARGUMENTS) ? length : BigInt(MOST_ARGUMENTS));
  const bytes = await readUpTo(space, start, wanted);
  const text = splitTexts(bytes);
  if (bytes.length === wanted) return { text };
  return { text, why: await space.whyUnreadable(start + BigInt(bytes.length)) };
}

function splitTexts(bytes: Uint8Array): string[] {
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at);
    const stop = end === -1 ? bytes.length : end;
    texts.push(decodeText(bytes.subarray(at, stop)));
    at = stop + 1;
  }
  return texts;
}

/** The environment of a process, as it was started. @throws AbsentError */
export async function environment(kernel: Kernel, task: Task): Promise<readonly string[]> {
  const mm = await kernel.load("mm_struct", task.mm);
  return (await userText(kernel, mm, "env_start", "env_end")).text;
}

async function resident(kernel: Kernel, mm: KernelObject, task: Task): Promise<ProcessMemory> {
  const page = Number(kernel.info.get("PAGESIZE") ?? 4096);
  const size = mm.has("total_vm") ? { size: mm.number("total_vm") * page } : {};
  let pages = 0;
  for (const counter of RESIDENT) {
    const plain = mm.which(`rss_stat.count[${counter}]`);
    if (plain !== undefined) pages += mm.number(plain);
    else if (mm.has(`rss_stat[${counter}]`))
      pages += await perCpuCounter(kernel, mm.inner(`rss_stat[${counter}]`));
    else return size;
  }
  pages += await notAddedYet(kernel, task);
  // counters of CPUs are added up at leisure: a sum may be a little below zero
  return { ...size, rss: Math.max(0, pages) * page };
}

/** Pages that the threads of a process count for themselves before they add them up (until Linux 6.1). */
async function notAddedYet(kernel: Kernel, task: Task): Promise<number> {
  if (!task.object.has("rss_stat.count[0]") || !task.object.has("thread_node")) return 0;
  const signal = await kernel.tryLoad("signal_struct", task.object.pointer("signal"));
  if (signal === undefined || !signal.has("thread_head")) return 0;
  let pages = 0;
  for await (const thread of listEntries(
    kernel,
    signal.addressOf("thread_head"),
    "task_struct",
    "thread_node",
  )) {
    for (const counter of RESIDENT) {
      const place = offsetOf(kernel, "task_struct", `rss_stat.count[${counter}]`);
      pages += ((await readU32(kernel.space, thread + place)) ?? 0) | 0;
    }
  }
  return pages;
}

/** Value of a percpu_counter: its total and what each CPU has not added yet. */
async function perCpuCounter(kernel: Kernel, counter: KernelObject): Promise<number> {
  let sum = Number(BigInt.asIntN(64, counter.bigint("count")));
  const parts = counter.has("counters") ? counter.pointer("counters") : 0n;
  if (parts === 0n) return sum;
  for (const { cpu } of await cpuList(kernel)) {
    const address = BigInt.asUintN(64, parts + (await kernel.perCpuOffset(cpu)));
    const bytes = await readUpTo(kernel.space, address, 4);
    if (bytes.length === 4) sum += new DataView(bytes.buffer, bytes.byteOffset, 4).getInt32(0, true);
  }
  return sum;
}
