import type { GuestImage } from "../../guest/image.js";
import { AbsentError, FormatError } from "../../findings/errors.js";
import type { AddressSpace } from "../../linux/address-space.js";
import { type Kernel, openKernel } from "../../linux/kernel.js";
import { callerName } from "../../linux/log/format.js";
import { logSourceOf } from "../../linux/log/kernel-log.js";
import { readLog } from "../../linux/log/read.js";
import { listModules, useModuleSymbols } from "../../linux/modules.js";
import { readPanicMessage } from "../../linux/panic.js";
import { processMemory } from "../../linux/process.js";
import { printPlace } from "../../linux/symbols.js";
import { type LinuxSystem, systemOf } from "../../linux/system.js";
import { listTasks, readTask, type Task } from "../../linux/tasks.js";
import { Unwinder } from "../../linux/unwind/backtrace.js";
import { stackStart } from "../../linux/unwind/task-stack.js";
import { spaceOf, taskOf } from "../../linux/where.js";
import type { Fact } from "./fact.js";
import { mappingRows, mountRows, networkRows } from "./linux-lists.js";
import { symbolAt, viewStructure } from "./linux-values.js";
import type {
  LinuxSummary,
  LogLine,
  LogLines,
  MappingRow,
  ModuleRow,
  MountRow,
  NetworkRows,
  StackRows,
  StructureView,
  TaskRow,
  TaskRows,
} from "./linux-protocol.js";

const MOST_LINES = 100_000;
const MOST_TASKS = 100_000;
const MOST_ADDRESSES = 4096;
/** Processes whose page tables are kept. */
const MOST_SPACES = 16;
const SECOND = 1e9;

const isTold = (error: unknown): error is AbsentError | FormatError =>
  error instanceof AbsentError || error instanceof FormatError;

/** A Linux guest that is looked at: its kernel is opened once. */
export class LinuxSession {
  readonly #guest: GuestImage;
  #kernel: Promise<Kernel> | undefined;
  #unwinder: Unwinder | undefined;
  readonly #spaces = new Map<string, Promise<AddressSpace>>();

  constructor(guest: GuestImage) {
    this.#guest = guest;
  }

  #open(): Promise<Kernel> {
    return (this.#kernel ??= openKernel(this.#guest));
  }

  async summary(): Promise<LinuxSummary> {
    const kernel = await this.#open();
    if (kernel.types !== undefined) await useModuleSymbols(kernel);
    const system = await systemOf(kernel);
    const panic = await readPanicMessage(kernel).catch((error: unknown) => {
      if (isTold(error)) return undefined;
      throw error;
    });
    return {
      facts: systemFacts(system, panic),
      cpus: system.cpus.map(({ cpu, task, at }) => ({
        cpu,
        ...(task === undefined ? {} : { task: task.idle ? "idle" : `${task.comm} (${task.pid})` }),
        ...(at === undefined ? {} : { at }),
      })),
      hung: system.hung ?? [],
      missing: Object.entries(system.missing).map(([key, value]) => ({ key, value })),
    };
  }

  async log(): Promise<LogLines> {
    const lines: LogLine[] = [];
    const remarks = new Set<string>();
    let leftOut = 0;
    // the log needs less than the rest of the kernel: it is read without types and symbols
    for await (const record of readLog(await logSourceOf(this.#guest), (_, message) =>
      remarks.add(message),
    )) {
      if (lines.length >= MOST_LINES) {
        leftOut += 1;
        continue;
      }
      const { tsNsec, level, caller, text } = record;
      lines.push({
        ...(tsNsec === undefined ? {} : { time: Number(tsNsec) }),
        ...(level === undefined ? {} : { level }),
        ...(caller === undefined ? {} : { caller: callerName(caller) }),
        text,
      });
    }
    return { lines, remarks: [...remarks].slice(0, 20), leftOut };
  }

  async tasks(): Promise<TaskRows> {
    const kernel = await this.#open();
    const tasks: TaskRow[] = [];
    for await (const task of listTasks(kernel, { threads: true, idle: true })) {
      if (tasks.length >= MOST_TASKS) break;
      tasks.push(taskRow(task, await processMemory(kernel, task)));
    }
    return { tasks, remarks: kernel.troubles.slice(0, 20).map(({ message }) => message) };
  }

  async modules(): Promise<readonly ModuleRow[]> {
    const found = await listModules(await this.#open());
    return found.map(({ name, address, size, taint }) => ({ name, address, size, taint }));
  }

  async mounts(): Promise<readonly MountRow[]> {
    return mountRows(await this.#open());
  }

  async network(): Promise<NetworkRows> {
    return networkRows(await this.#open());
  }

  async mappings(task: bigint): Promise<readonly MappingRow[]> {
    return mappingRows(await this.#open(), task);
  }

  /** @param at an address in hexadecimal digits, or a symbol */
  async structure(name: string, at: string | undefined): Promise<StructureView> {
    const kernel = await this.#open();
    kernel.needTypes();
    const digits = /^0x[0-9a-f]{1,16}$/i.exec(at ?? "")?.[0];
    const address = digits === undefined ? at && kernel.needSymbol(at) : BigInt(digits);
    return viewStructure(kernel, name, address === "" ? undefined : address);
  }

  async symbols(addresses: readonly bigint[]): Promise<readonly string[]> {
    const kernel = await this.#open();
    return addresses.slice(0, MOST_ADDRESSES).map((address) => symbolAt(kernel, address) ?? "");
  }

  async address(name: string): Promise<bigint | undefined> {
    return (await this.#open()).symbol(name);
  }

  /** Virtual memory: the kernel's, or that of a process by its number. */
  async space(name: "kernel" | `pid:${number}`): Promise<AddressSpace> {
    const kernel = await this.#open();
    if (name === "kernel") return kernel.space;
    let space = this.#spaces.get(name);
    if (space === undefined) {
      space = taskOf(kernel, Number(name.slice("pid:".length))).then((task) => spaceOf(kernel, task));
      if (this.#spaces.size >= MOST_SPACES) this.#spaces.clear();
      this.#spaces.set(name, space);
    }
    return space;
  }

  async stack(address: bigint): Promise<StackRows> {
    const kernel = await this.#open();
    kernel.needTypes();
    await useModuleSymbols(kernel);
    this.#unwinder ??= new Unwinder(kernel);
    const task = await readTask(kernel, address);
    if (task === undefined) return { frames: [], ended: "its task_struct can't be read" };
    const { frames, ended } = await this.#unwinder.backtrace(await stackStart(kernel, task));
    return {
      frames: frames.map(({ pc, mode, place, stack }) => ({
        pc,
        mode,
        ...(place === undefined ? {} : { place: printPlace(place) }),
        ...(stack === undefined || stack === "task" ? {} : { stack }),
      })),
      ...(ended === undefined ? {} : { ended: ended.message }),
    };
  }
}

function taskRow(
  task: Task,
  memory: { readonly rss?: number; readonly commandLine?: readonly string[] },
): TaskRow {
  const { cpu, uid, startTime } = task;
  const { rss, commandLine } = memory;
  return {
    address: task.address,
    pid: task.pid,
    tgid: task.tgid,
    ppid: task.ppid,
    comm: task.comm,
    state: `${task.state}${task.frozen ? " frozen" : ""}`,
    kthread: task.kthread,
    onCpu: task.onCpu,
    time: task.utime + task.stime,
    ...(cpu === undefined ? {} : { cpu }),
    ...(uid === undefined ? {} : { uid }),
    ...(startTime === undefined ? {} : { startTime }),
    ...(rss === undefined ? {} : { rss }),
    ...(commandLine === undefined ? {} : { commandLine }),
  };
}

/** `3 d 04:05:06`, from nanoseconds. */
function duration(nanoseconds: number): string {
  const seconds = Math.floor(nanoseconds / SECOND);
  const two = (value: number): string => String(value).padStart(2, "0");
  const days = Math.floor(seconds / 86_400);
  const clock = `${two(Math.floor(seconds / 3600) % 24)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return days === 0 ? clock : `${days} d ${clock}`;
}

const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20).toLocaleString("en-US")} MiB`;

function systemFacts(system: LinuxSystem, panic: string | undefined): Fact[] {
  const { clock, load, memory, taint } = system;
  const facts: readonly (readonly [key: string, value: string | undefined])[] = [
    ["panic", panic],
    ["release", system.release],
    ["version", system.version],
    ["hostName", system.hostName],
    ["uptime", clock === undefined ? undefined : duration(clock.uptime)],
    ["wall", clock === undefined ? undefined : wallText(clock.wall)],
    ["load", load?.map((value) => value.toFixed(2)).join(", ")],
    [
      "memory",
      memory === undefined ? undefined : `${mebibytes(memory.total)}, ${mebibytes(memory.free)} free`,
    ],
    ["processor", system.processor],
    ["commandLine", system.commandLine],
    ["taint", taint === undefined || taint.letters === "" ? undefined : taint.letters],
    ["panicCpu", system.panicCpu === undefined ? undefined : String(system.panicCpu)],
  ];
  return facts.flatMap(([key, value]) => (value === undefined || value === "" ? [] : [{ key, value }]));
}

/** A time of day, where one of a guest's clock is any. */
function wallText(nanoseconds: number): string | undefined {
  const date = new Date(nanoseconds / 1e6);
  return Number.isNaN(date.getTime())
    ? undefined
    : `${date.toISOString().replace("T", " ").slice(0, 19)} UTC`;
}
