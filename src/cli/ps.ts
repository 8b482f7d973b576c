import type { Kernel } from "../linux/kernel.js";
import { type ProcessMemory, processMemory } from "../linux/process.js";
import { listTasks, type Task } from "../linux/tasks.js";
import { type Command, EXIT } from "./command.js";
import type { TaskRow } from "./guest-documents.js";
import { addKernelOptions, type KernelArguments, printable, withKernel } from "./kernel-input.js";
import { printKernelJson } from "./kernel-table.js";
import { type Column, print, tableLines } from "./terminal.js";
import { inTree } from "./task-tree.js";

interface Arguments extends KernelArguments {
  readonly threads: boolean;
  readonly tree: boolean;
}

/** Without its task_struct, which is kilobytes. */
type Row = Omit<Task, "object"> & ProcessMemory;

const SECOND = 1e9;
const NO_VALUE = "-";

const COLUMNS: readonly Column[] = [
  { title: "PID", align: "right" },
  { title: "PPID", align: "right" },
  { title: "CPU", align: "right" },
  { title: "UID", align: "right" },
  { title: "ST" },
  { title: "START", align: "right" },
  { title: "TIME", align: "right" },
  { title: "RSS", align: "right" },
  { title: "COMMAND" },
];

/** `[kthreadd]` for what runs in the kernel, else the command line, else the name. */
function commandOf({ commandLine, comm, kthread, mm }: Row): string {
  if (kthread || mm === 0n) return `[${printable(comm)}]`;
  const line = (commandLine ?? []).map(printable).join(" ").trim();
  return line === "" ? printable(comm) : line;
}

const seconds = (nanoseconds: number | undefined): string =>
  nanoseconds === undefined ? NO_VALUE : (nanoseconds / SECOND).toFixed(2);

function cells(row: Row, threads: boolean, prefix: string): string[] {
  const { pid, tgid, ppid, cpu, uid, state, frozen, onCpu, startTime, utime, stime, rss } = row;
  return [
    ...(threads ? [String(tgid)] : []),
    String(pid),
    String(ppid),
    String(cpu ?? NO_VALUE),
    String(uid ?? NO_VALUE),
    `${state}${onCpu ? "+" : ""}${frozen ? " frozen" : ""}`,
    seconds(startTime),
    seconds(utime + stime),
    rss === undefined ? NO_VALUE : String(Math.round(rss / 1024)),
    prefix + commandOf(row),
  ];
}

function document(row: Row): TaskRow {
  return {
    pid: row.pid,
    tgid: row.tgid,
    ppid: row.ppid,
    comm: row.comm,
    state: row.state,
    stateNumber: row.stateNumber,
    exitState: row.exitState,
    frozen: row.frozen,
    task: row.address,
    kthread: row.kthread,
    ...(row.idle ? { idle: true } : {}),
    ...(row.cpu === undefined ? {} : { cpu: row.cpu }),
    onCpu: row.onCpu,
    ...(row.uid === undefined ? {} : { uid: row.uid }),
    ...(row.startTime === undefined ? {} : { startTime: row.startTime }),
    utime: row.utime,
    stime: row.stime,
    ...(row.rss === undefined ? {} : { rss: row.rss }),
    ...(row.size === undefined ? {} : { size: row.size }),
    cmdline: row.commandLine ?? [],
    ...(row.whyNoCommandLine === undefined ? {} : { cmdlineMissing: row.whyNoCommandLine }),
  };
}

async function rowsOf(kernel: Kernel, threads: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const task of listTasks(kernel, { threads, idle: true })) {
    const { object: _, ...row } = task;
    rows.push({ ...row, ...(await processMemory(kernel, task)) });
  }
  return rows;
}

export const command: Command = {
  name: "ps",
  summary: "list the tasks of a Linux guest, from its own memory",
  examples: [
    "guestscope ps web01.save",
    "guestscope ps --threads --tree core.4711",
    "guestscope ps --json web01.save | jq '.tasks[] | select(.state == \"D\")'",
  ],
  configure(parser) {
    addKernelOptions(parser);
    parser.add_argument("--threads", {
      action: "store_true",
      help: "every thread, with the process (TGID) it belongs to",
    });
    parser.add_argument("--tree", { action: "store_true", help: "children below their parents" });
  },
  async run(args) {
    const options = args as Arguments;
    const { json, quiet, threads, tree } = options;
    return withKernel(args, async (kernel) => {
      const rows = await rowsOf(kernel, threads);
      if (json) {
        printKernelJson(kernel, options, "linux-tasks", { tasks: rows.map(document) });
      } else if (!quiet) {
        const columns = threads ? [{ title: "TGID", align: "right" } as const, ...COLUMNS] : COLUMNS;
        const lines = tree
          ? inTree(rows).map(({ row, prefix }) => cells(row, threads, prefix))
          : rows.map((row) => cells(row, threads, ""));
        for (const line of tableLines(columns, lines)) print(line);
      }
      return EXIT.good;
    });
  },
};
