import { UsageError } from "../findings/errors.js";
import type { Kernel } from "../linux/kernel.js";
import { useModuleSymbols } from "../linux/modules.js";
import { printPlace } from "../linux/symbols.js";
import { LINUX_RULES } from "../linux/rules.js";
import { listTasks, readTask, type Task } from "../linux/tasks.js";
import { Unwinder } from "../linux/unwind/backtrace.js";
import { runningCpus, stackStart } from "../linux/unwind/task-stack.js";
import type { Backtrace, StackFrame } from "../linux/unwind/frame.js";
import { mappingAt, type UserMapping } from "../linux/user-mappings.js";
import { AbsentError } from "../findings/errors.js";
import { type Command, EXIT } from "./command.js";
import type { FrameRow, LinuxStacksDocument, TaskStackRow, VcpuStackRow } from "./guest-documents.js";
import { addKernelOptions, type KernelArguments, printable, withKernel } from "./kernel-input.js";
import { hex, paint, print, printJson } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly pids: readonly string[];
  readonly all: boolean;
  readonly cpus: boolean;
}

/** A task with its frames. */
interface Traced {
  readonly task: Task;
  readonly cpu: number | undefined;
  readonly running: boolean;
  readonly trace: Backtrace;
  /** Mappings that frames in user mode are in, by pc. */
  readonly mappings: ReadonlyMap<bigint, UserMapping>;
}

function parsePids(texts: readonly string[]): ReadonlySet<number> {
  return new Set(
    texts.map((text) => {
      if (!/^\d{1,9}$/.test(text)) throw new UsageError(`'${text}' is no PID`);
      return Number(text);
    }),
  );
}

/** The tasks asked for. */
async function* chosen(kernel: Kernel, args: Arguments): AsyncGenerator<Task> {
  const pids = parsePids(args.pids);
  const byCpu = pids.size === 0 && !args.all;
  if (byCpu || args.cpus) {
    for (const cpu of await runningCpus(kernel)) {
      const task = cpu.current === undefined ? undefined : await readTask(kernel, cpu.current);
      if (task !== undefined) yield { ...task, idle: cpu.current === cpu.idle, cpu: cpu.cpu };
    }
    if (byCpu) return;
  }
  for await (const task of listTasks(kernel, { threads: true, idle: true }))
    if (args.all || pids.has(task.pid) || pids.has(task.tgid)) yield task;
}

async function trace(kernel: Kernel, unwinder: Unwinder, task: Task): Promise<Traced> {
  const start = await stackStart(kernel, task);
  const found = await unwinder.backtrace(start);
  const mappings = new Map<bigint, UserMapping>();
  for (const { mode, pc } of found.frames) {
    const mapping = mode === "user" ? await userMapping(kernel, task, pc) : undefined;
    if (mapping !== undefined) mappings.set(pc, mapping);
  }
  return { task, cpu: start.cpu ?? task.cpu, running: start.cpu !== undefined, trace: found, mappings };
}

async function userMapping(kernel: Kernel, { mm }: Task, pc: bigint): Promise<UserMapping | undefined> {
  if (mm === 0n) return undefined;
  try {
    return await mappingAt(kernel, mm, pc);
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    return undefined;
  }
}

function frameDocument(frame: StackFrame, mappings: Traced["mappings"]): FrameRow {
  const { pc, sp, place, mode, registers, cause, stack } = frame;
  const mapping = mappings.get(pc);
  return {
    pc,
    ...(place === undefined ? {} : { symbol: symbolOf(place) }),
    ...(place?.module === undefined ? {} : { module: place.module }),
    mode,
    ...(sp === undefined ? {} : { sp }),
    ...(stack === undefined ? {} : { stack }),
    ...(cause === undefined ? {} : { cause }),
    ...(registers === undefined ? {} : { registers }),
    ...(mapping === undefined ? {} : { mapping }),
  };
}

/** `schedule+0x5a/0xc7`, without the module. */
const symbolOf = ({ name, offset, size }: NonNullable<StackFrame["place"]>): string =>
  printPlace({ name, offset, size });

function document({ task, cpu, running, trace: { frames, ended }, mappings }: Traced): TaskStackRow {
  return {
    pid: task.pid,
    tgid: task.tgid,
    comm: task.comm,
    state: task.state,
    task: task.address,
    kthread: task.kthread,
    ...(task.idle ? { idle: true } : {}),
    ...(cpu === undefined ? {} : { cpu }),
    running,
    frames: frames.map((frame) => frameDocument(frame, mappings)),
    ...(ended === undefined ? {} : { ended }),
  };
}

/** A vCPU whose task isn't known: what its own registers lead to. */
interface TracedVcpu {
  readonly vcpu: number;
  readonly trace: Backtrace;
}

/** vCPUs that no CPU with a known task is: kernels without types or names of variables don't show their tasks. */
async function* otherVcpus(kernel: Kernel, unwinder: Unwinder): AsyncGenerator<TracedVcpu> {
  const known = new Set<number>();
  try {
    for (const { vcpu, current } of kernel.types === undefined ? [] : await runningCpus(kernel))
      if (vcpu !== undefined && current !== undefined) known.add(vcpu.id);
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(LINUX_RULES.noSymbol, `the tasks that CPUs ran are not known: ${error.message}`);
  }
  for (const vcpu of kernel.guest.vcpus)
    if (!known.has(vcpu.id) && vcpu.registers !== undefined)
      yield { vcpu: vcpu.id, trace: await unwinder.backtrace({ vcpu }) };
}

const REGISTERS_IN_ROW = 3;

function registerLines(registers: NonNullable<StackFrame["registers"]>): string[] {
  const cells = Object.entries(registers).map(
    ([name, value]) => `${name.padStart(8)} ${value.toString(16).padStart(16, "0")}`,
  );
  return Array.from(
    { length: Math.ceil(cells.length / REGISTERS_IN_ROW) },
    (_, i) => `     ${cells.slice(i * REGISTERS_IN_ROW, (i + 1) * REGISTERS_IN_ROW).join(" ")}`,
  );
}

function frameLines(
  frame: StackFrame,
  index: number,
  mappings: Traced["mappings"],
  verbose: boolean,
): string[] {
  const { pc, place, mode, registers, cause, stack } = frame;
  const mapping = mappings.get(pc);
  const file = mapping === undefined ? "" : ` in ${printable(mapping.file ?? "memory without a file")}`;
  const where =
    mode === "user"
      ? `user mode${file}${mapping === undefined ? "" : ` ${mapping.permissions} +${hex(pc - mapping.start + BigInt(mapping.offset))}`}`
      : place === undefined
        ? "?"
        : printable(printPlace(place));
  const on = stack === undefined || stack === "task" ? "" : `  <${stack}>`;
  const lines = [` #${String(index).padEnd(2)} ${hex(pc)}  ${where}${on}`];
  // registers of a system call, and of a kernel that ran, are only worth their room when asked for
  const shown = registers !== undefined && (verbose || (cause === "saved") === (mode === "kernel"));
  return shown ? [...lines, ...registerLines(registers)] : lines;
}

function lines(traced: Traced, verbose: boolean): string[] {
  const { task, cpu, running, trace: found, mappings } = traced;
  const state = `${task.state}${task.frozen ? " frozen" : ""}${running ? ", running" : ""}`;
  const head = `PID ${task.pid}  TASK ${hex(task.address)}  CPU ${cpu ?? "?"}  ${state}  ${printable(task.kthread ? `[${task.comm}]` : task.comm)}`;
  return traceLines(head, found, mappings, verbose);
}

function traceLines(
  head: string,
  { frames, ended }: Backtrace,
  mappings: Traced["mappings"],
  verbose: boolean,
): string[] {
  return [
    paint("bold", head),
    ...frames.flatMap((frame, i) => frameLines(frame, i, mappings, verbose)),
    ...(ended === undefined ? [] : [`     ends here: ${printable(ended.message)} [${ended.code}]`]),
  ];
}

const NO_MAPPINGS: Traced["mappings"] = new Map();

export const command: Command = {
  name: "bt",
  summary: "show kernel stacks of a Linux guest's tasks, from its own memory",
  examples: [
    "guestscope bt web01.save",
    "guestscope bt web01.save 1 4711",
    "guestscope bt --all --json core.4711 | jq '.tasks[] | {comm, top: .frames[0].symbol}'",
  ],
  configure(parser) {
    addKernelOptions(parser);
    parser.add_argument("pids", {
      metavar: "PID",
      nargs: "*",
      help: "tasks, or processes with all their threads",
    });
    parser.add_argument("--all", { action: "store_true", help: "every task and thread" });
    parser.add_argument("--cpus", {
      action: "store_true",
      help: "what each CPU was running (also when nothing else is asked for)",
    });
  },
  async run(args) {
    const given = args as Arguments;
    parsePids(given.pids);
    return withKernel(args, async (kernel) => {
      const byCpu = !given.all && given.pids.length === 0;
      if (!byCpu) kernel.needTypes();
      await useModuleSymbols(kernel);
      const unwinder = new Unwinder(kernel);
      const vcpus: VcpuStackRow[] = [];
      const documents: TaskStackRow[] = [];
      let isWhole = true;
      let count = 0;
      for await (const task of kernel.types === undefined ? [] : chosen(kernel, given)) {
        const traced = await trace(kernel, unwinder, task);
        isWhole &&= traced.trace.ended === undefined;
        if (given.json) documents.push(document(traced));
        else if (!given.quiet)
          for (const line of [...(count === 0 ? [] : [""]), ...lines(traced, given.verbose)]) print(line);
        count += 1;
      }
      if (byCpu || given.cpus) {
        for await (const { vcpu, trace: found } of otherVcpus(kernel, unwinder)) {
          isWhole = false;
          const { frames, ended } = found;
          if (given.json) {
            const shown = frames.map((frame) => frameDocument(frame, NO_MAPPINGS));
            vcpus.push({ vcpu, frames: shown, ...(ended === undefined ? {} : { ended }) });
          } else if (!given.quiet) {
            const head = `VCPU ${vcpu}  its task is not known`;
            const part = traceLines(head, found, NO_MAPPINGS, given.verbose);
            for (const line of [...(count === 0 ? [] : [""]), ...part]) print(line);
          }
          count += 1;
        }
      }
      if (count === 0 && given.pids.length > 0)
        throw new UsageError(`no task has PID ${given.pids.join(" or ")}`, { source: given.input });
      if (given.json)
        printJson({
          schemaVersion: 1,
          kind: "linux-stacks",
          source: given.input,
          tasks: documents,
          ...(vcpus.length === 0 ? {} : { vcpus }),
          troubles: kernel.troubles,
        } satisfies LinuxStacksDocument);
      return isWhole ? EXIT.good : EXIT.badInput;
    });
  },
};
