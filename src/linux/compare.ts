import { AbsentError, FormatError, UsageError } from "../findings/errors.js";
import type { Kernel } from "./kernel.js";
import { formatLogRecord } from "./log/format.js";
import { logSourceOf } from "./log/kernel-log.js";
import { readLog } from "./log/read.js";
import { listModules } from "./modules.js";
import { listMounts } from "./mounts.js";
import { listTasks } from "./tasks.js";
import { taskOf } from "./where.js";

/** A task as a comparison names it. */
export interface TaskName {
  readonly pid: number;
  readonly comm: string;
}

/** What only one of two states of a Linux guest has. */
export interface LinuxDifference {
  /** Tasks of the second state that the first hasn't, and the other way round: by pid and start. */
  readonly tasksBegun: readonly TaskName[];
  readonly tasksEnded: readonly TaskName[];
  readonly modulesLoaded: readonly string[];
  readonly modulesRemoved: readonly string[];
  /** Mounts of the first process's namespace, as `TYPE SOURCE on TARGET (rw)`. */
  readonly mountsAdded: readonly string[];
  readonly mountsRemoved: readonly string[];
  /** Lines of the kernel log that only the second state holds; how many lines only the first holds. */
  readonly logNew: readonly string[];
  readonly logGone: number;
  /** Parts that couldn't be compared, and why. */
  readonly notCompared: readonly string[];
}

/** What is compared of a state of a Linux guest: plain data, so that only one kernel need be open at a time. */
export interface LinuxState {
  readonly tasks: ReadonlyMap<string, TaskName>;
  readonly modules: ReadonlyMap<string, string>;
  readonly mounts: ReadonlyMap<string, string>;
  readonly log: ReadonlyMap<string, string>;
  /** Parts that couldn't be read, and why. */
  readonly missing: readonly string[];
}

/** Reads what is compared of a Linux guest. What can't be read is said in it. */
export async function linuxState(kernel: Kernel): Promise<LinuxState> {
  const missing: string[] = [];
  const tasks = new Map<string, TaskName>();
  const modules = new Map<string, string>();
  const mounts = new Map<string, string>();
  const log = new Map<string, string>();
  const part = async (name: string, read: () => Promise<void>): Promise<void> => {
    try {
      await read();
    } catch (error) {
      if (!(error instanceof AbsentError || error instanceof FormatError || error instanceof UsageError))
        throw error;
      missing.push(`${name}: ${error.message}`);
    }
  };
  await part("tasks", async () => {
    for await (const { pid, comm, startTime } of listTasks(kernel, { threads: true }))
      tasks.set(`${pid} ${startTime ?? ""}`, { pid, comm });
  });
  await part("modules", async () => {
    for (const { name } of await listModules(kernel)) modules.set(name, name);
  });
  await part("mounts", async () => {
    const init = await taskOf(kernel, 1);
    const namespaces = await init.object.follow("nsproxy");
    for await (const mount of listMounts(kernel, namespaces.pointer("mnt_ns"))) {
      const { id, type, source, target, readOnly } = mount;
      const line = `${type} ${source} on ${target} (${readOnly ? "ro" : "rw"})`;
      mounts.set(`${id} ${line}`, line);
    }
  });
  await part("log", async () => {
    for await (const record of readLog(await logSourceOf(kernel.guest))) {
      const line = formatLogRecord(record, {});
      if (line !== undefined) log.set(`${record.seq ?? ""} ${record.tsNsec ?? ""} ${record.text}`, line);
    }
  });
  return { tasks, modules, mounts, log, missing };
}

function onlyIn<T>(one: ReadonlyMap<string, T>, other: ReadonlyMap<string, T>): T[] {
  return [...one].flatMap(([key, value]) => (other.has(key) ? [] : [value]));
}

/** Compares two states of a Linux guest. Parts that one of them lacks are said, and left out of the comparison. */
export function compareLinux(one: LinuxState, other: LinuxState): LinuxDifference {
  return {
    tasksBegun: onlyIn(other.tasks, one.tasks),
    tasksEnded: onlyIn(one.tasks, other.tasks),
    modulesLoaded: onlyIn(other.modules, one.modules),
    modulesRemoved: onlyIn(one.modules, other.modules),
    mountsAdded: onlyIn(other.mounts, one.mounts),
    mountsRemoved: onlyIn(one.mounts, other.mounts),
    logNew: onlyIn(other.log, one.log),
    logGone: onlyIn(one.log, other.log).length,
    notCompared: [...new Set([...one.missing, ...other.missing])],
  };
}
