import { AbsentError, FormatError } from "../findings/errors.js";
import { kernelBanner } from "../guest/kernel/vmcoreinfo.js";
import { type KernelClock, kernelClock } from "./clock.js";
import type { KernelCpu } from "./cpus.js";
import { runningCpus } from "./unwind/task-stack.js";
import { hungTasks, type HungTask } from "./hung-tasks.js";
import type { Kernel } from "./kernel.js";
import { type MemoryUse, memoryUse } from "./memory-use.js";
import { taintLetters } from "./modules.js";
import { decodeText } from "./object.js";
import { readU32, readUpTo } from "./read.js";
import { absent, LINUX_RULES } from "./rules.js";
import { printPlace } from "./symbols.js";
import { readTask } from "./tasks.js";
import { findMember } from "./types.js";

/** What a CPU was doing when the guest was saved. */
export interface CpuActivity {
  readonly cpu: number;
  readonly online: boolean;
  /** Number of the saved vCPU it is, where that is known. */
  readonly vcpu?: number;
  /** The task it ran. */
  readonly task?: { readonly pid: number; readonly comm: string; readonly idle: boolean };
  /** `user`, or the place in the kernel its instruction pointer was at. */
  readonly at?: string;
}

/** What a Linux guest was, and what it was doing: each part where it can be had, else why not in `missing`. */
export interface LinuxSystem {
  readonly release?: string;
  /** `#1 SMP PREEMPT_DYNAMIC …`. */
  readonly version?: string;
  readonly machine?: string;
  readonly hostName?: string;
  readonly domainName?: string;
  /** `Linux version …`. */
  readonly banner?: string;
  readonly commandLine?: string;
  readonly clock?: KernelClock;
  /** Averages over 1, 5 and 15 minutes. */
  readonly load?: readonly number[];
  readonly processor?: string;
  readonly cpus: readonly CpuActivity[];
  readonly memory?: MemoryUse;
  /** The mask and its letters. */
  readonly taint?: { readonly mask: bigint; readonly letters: string };
  /** The CPU that called panic(), if one did. */
  readonly panicCpu?: number;
  readonly hung?: readonly HungTask[];
  /** What can't be had, by the name of the part, and why. */
  readonly missing: Readonly<Record<string, string>>;
}

/** Bytes of each text of struct new_utsname; the structure has six of them. */
const UTS_TEXT = 65;
const LONGEST_COMMAND_LINE = 4096;
/** Fraction bits of a load average. */
const LOAD_UNIT = 2048n;

/** Everything that a kernel's memory says of the system as a whole. */
export async function systemOf(kernel: Kernel): Promise<LinuxSystem> {
  const missing: Record<string, string> = {};
  const ask = async <T>(part: string, get: () => Promise<T | undefined>): Promise<T | undefined> => {
    try {
      return await get();
    } catch (error) {
      if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
      missing[part] = error.message;
      return undefined;
    }
  };
  const names = (await ask("hostName", async () => utsNames(kernel))) ?? {};
  const clock = await ask("clock", async () => kernelClock(kernel));
  const found = {
    release: kernel.release,
    ...names,
    banner: await ask("banner", async () => banner(kernel)),
    commandLine: await ask("commandLine", async () => commandLine(kernel)),
    clock,
    load: await ask("load", async () => loadAverages(kernel)),
    processor: await ask("processor", async () => processorName(kernel)),
    memory: await ask("memory", async () => memoryUse(kernel)),
    taint: await ask("taint", async () => taintOf(kernel)),
    panicCpu: await ask("panicCpu", async () => panicCpu(kernel)),
    hung: await ask("hung", async () => hungTasks(kernel, clock)),
  };
  const cpus = (await ask("cpus", async () => activity(kernel))) ?? [];
  const known = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
  return { ...known, cpus, missing };
}

/** Names out of init_uts_ns, by VMCOREINFO alone if need be. */
async function utsNames(
  kernel: Kernel,
): Promise<Pick<LinuxSystem, "version" | "machine" | "hostName" | "domainName">> {
  const address = kernel.needSymbol("init_uts_ns");
  const given = kernel.info.get("OFFSET(uts_namespace.name)");
  const type = kernel.types?.find("struct", "uts_namespace");
  const member = type === undefined ? undefined : findMember(type, "name");
  // VMCOREINFO says it since 5.11, where a reference count no longer comes first
  const offset =
    given !== undefined && /^\d{1,4}$/.test(given) ? Number(given) : (member?.bitOffset ?? 32) / 8;
  const bytes = await readUpTo(kernel.space, address + BigInt(offset), 6 * UTS_TEXT);
  if (bytes.length < 6 * UTS_TEXT)
    throw absent(
      LINUX_RULES.memory,
      `the kernel's names can't be read: ${await kernel.space.whyUnreadable(address)}`,
    );
  const text = (i: number): string => decodeText(bytes.subarray(i * UTS_TEXT, (i + 1) * UTS_TEXT));
  return { hostName: text(1), version: text(3), machine: text(4), domainName: text(5) };
}

async function banner(kernel: Kernel): Promise<string | undefined> {
  const address = kernel.symbol("linux_banner");
  if (address !== undefined) return (await kernel.string(address, 1024)).trimEnd();
  const { memory, arch, facts, vcpus } = kernel.guest;
  return kernelBanner(memory, arch, facts.vmcoreInfo, vcpus);
}

async function commandLine(kernel: Kernel): Promise<string> {
  const pointer = await kernel.pointerAt(kernel.needSymbol("saved_command_line"));
  return (await kernel.string(pointer, LONGEST_COMMAND_LINE)).trimEnd();
}

async function loadAverages(kernel: Kernel): Promise<readonly number[]> {
  const address = kernel.needSymbol("avenrun");
  const values = await Promise.all([0n, 8n, 16n].map(async (at) => kernel.pointerAt(address + at)));
  // rounded as /proc/loadavg rounds
  return values.map(
    (value) => Math.floor((Number(value + LOAD_UNIT / 200n) * 100) / Number(LOAD_UNIT)) / 100,
  );
}

async function processorName(kernel: Kernel): Promise<string | undefined> {
  if (kernel.arch.name !== "x86_64") return undefined;
  const cpu = await kernel.load("cpuinfo_x86", kernel.needSymbol("boot_cpu_data"));
  return cpu.text("x86_model_id").trim();
}

async function taintOf(kernel: Kernel): Promise<LinuxSystem["taint"]> {
  const mask = await kernel.pointerAt(kernel.needSymbol("tainted_mask"));
  return { mask, letters: taintLetters(mask) };
}

/** The CPU that called panic(); undefined when none did. */
async function panicCpu(kernel: Kernel): Promise<number | undefined> {
  const value = await readU32(kernel.space, kernel.needSymbol("panic_cpu"));
  return value === undefined || value === 0xffff_ffff ? undefined : value;
}

async function activity(kernel: Kernel): Promise<readonly CpuActivity[]> {
  const cpus: CpuActivity[] = [];
  for (const cpu of await runningCpus(kernel)) {
    const task = cpu.current === undefined ? undefined : await readTask(kernel, cpu.current);
    cpus.push({
      cpu: cpu.cpu,
      online: cpu.online,
      ...(cpu.vcpu === undefined ? {} : { vcpu: cpu.vcpu.id }),
      ...(task === undefined
        ? {}
        : { task: { pid: task.pid, comm: task.comm, idle: cpu.current === cpu.idle } }),
      ...whereOf(kernel, cpu),
    });
  }
  return cpus;
}

function whereOf(kernel: Kernel, { vcpu }: KernelCpu): Pick<CpuActivity, "at"> {
  const registers = vcpu?.registers;
  const pc =
    registers?.kind === "x86"
      ? registers.general.rip
      : registers?.kind === "aarch64"
        ? registers.pc
        : undefined;
  if (pc === undefined) return {};
  if (pc >> 63n === 0n) return { at: "user" };
  const place = kernel.place(pc);
  return place === undefined ? {} : { at: printPlace(place) };
}
