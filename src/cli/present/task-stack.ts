import { AbsentError, FormatError } from "../../io/errors.js";
import type { Kernel } from "../../linux/kernel.js";
import type { Task } from "../../linux/tasks.js";
import type { Backtrace, StackFrame } from "../../linux/unwind/frame.js";
import { mappingAt, type UserMapping } from "../../linux/user-mappings.js";
import { printable } from "../kernel-input.js";

/** A task with its backtrace, and what its user mode's code is mapped from. */
export interface TaskStack extends Backtrace {
  readonly task: Task;
  /** By the frame's place in `frames`. */
  readonly mappings?: ReadonlyMap<number, UserMapping>;
}

/** Adds the mappings that frames in user mode are in. */
export async function withMappings(kernel: Kernel, stack: TaskStack): Promise<TaskStack> {
  const mappings = new Map<number, UserMapping>();
  for (const [i, { mode, pc }] of stack.frames.entries()) {
    if (mode !== "user" || stack.task.mm === 0n) continue;
    try {
      const mapping = await mappingAt(kernel, stack.task.mm, pc);
      if (mapping !== undefined) mappings.set(i, mapping);
    } catch (error) {
      // the frame is shown without it
      if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
    }
  }
  return mappings.size === 0 ? stack : { ...stack, mappings };
}

const word = (value: bigint): string => value.toString(16).padStart(16, "0");

/** `/bin/busybox+0xbfde3`; `[anonymous]` for memory of no file. */
function mappingText({ start, offset, file }: UserMapping, pc: bigint): string {
  if (file === undefined) return "[anonymous]";
  return `${printable(file)}+0x${(pc - start + BigInt(offset)).toString(16)}`;
}

function symbolOf({ place }: StackFrame): string | undefined {
  return place === undefined
    ? undefined
    : `${printable(place.name)}+0x${place.offset.toString(16)}/0x${place.size.toString(16)}`;
}

/** Lines for people: the task, its frames, and registers where an entry into the kernel kept them. */
export function stackLines({ task, frames, ended, mappings }: TaskStack): string[] {
  const { pid, comm, state, cpu, onCpu, address } = task;
  const where = cpu === undefined ? "" : `  CPU ${cpu}${onCpu ? ", running" : ""}`;
  const lines = [`PID ${pid}  ${printable(comm)}  ${state}${where}  task 0x${word(address)}`];
  for (const [i, frame] of frames.entries()) {
    const mapping = mappings?.get(i);
    const module = frame.place?.module === undefined ? "" : ` [${printable(frame.place.module)}]`;
    const stack = frame.stack === undefined || frame.stack === "task" ? "" : `  (${frame.stack} stack)`;
    const what =
      frame.mode === "user"
        ? `user mode${mapping === undefined ? "" : `, ${mappingText(mapping, frame.pc)}`}`
        : `${symbolOf(frame) ?? "code without a name"}${module}${stack}`;
    lines.push(` #${String(i).padEnd(3)}${word(frame.pc)}  ${what}`);
    lines.push(...registerLines(frame));
  }
  if (ended !== undefined) lines.push(` stops: ${printable(ended.message)} [${ended.code}]`);
  return [...lines, ""];
}

/** Registers in rows that fit a terminal. */
function registerLines({ registers }: StackFrame): string[] {
  if (registers === undefined) return [];
  const cells = Object.entries(registers).map(([name, value]) => `${name.padStart(8)} ${word(value)}`);
  return Array.from({ length: Math.ceil(cells.length / 3) }, (_, row) =>
    cells.slice(row * 3, row * 3 + 3).join(""),
  );
}

/** The same for programs; addresses as `0x…`. */
export function stackDocument({ task, frames, ended, mappings }: TaskStack): Record<string, unknown> {
  return {
    pid: task.pid,
    tgid: task.tgid,
    comm: task.comm,
    state: task.state,
    task: task.address,
    ...(task.cpu === undefined ? {} : { cpu: task.cpu }),
    onCpu: task.onCpu,
    frames: frames.map((frame, i) => {
      const symbol = symbolOf(frame);
      const mapping = mappings?.get(i);
      return {
        pc: frame.pc,
        ...(symbol === undefined ? {} : { symbol }),
        ...(frame.place?.module === undefined ? {} : { module: frame.place.module }),
        ...(frame.mode === "user" ? { user: true } : {}),
        ...(frame.stack === undefined ? {} : { stack: frame.stack }),
        ...(mapping === undefined ? {} : { mapping }),
        ...(frame.registers === undefined ? {} : { registers: frame.registers }),
      };
    }),
    ...(ended === undefined ? {} : { ended }),
  };
}
