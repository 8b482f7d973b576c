import type { Aarch64Registers, Vcpu, X86Registers } from "../../guest/vcpu.js";
import { AbsentError, FormatError } from "../../io/errors.js";
import type { Kernel } from "../kernel.js";
import { useModuleSymbols } from "../modules.js";
import { absent, damaged, hex } from "../rules.js";
import { type Arm64Frames, type Arm64State, arm64Frames, isUserArm64, stepArm64 } from "./aarch64.js";
import type { Backtrace, StackFrame } from "./frame.js";
import { openOrcTables, type OrcTables } from "./orc-tables.js";
import { arm64VcpuRegisters, x86VcpuRegisters } from "./pt-regs.js";
import { STACK_RULES } from "./rules.js";
import { StackWalk } from "./stack-walk.js";
import { cpuStacks, type StackSpan, taskStack } from "./stacks.js";
import { recoverer } from "./tracer.js";
import { isUser, placeOf, stepX86, type X86State } from "./x86.js";
import { stepX86FramePointer } from "./x86-frame-pointers.js";

/** Frames that are given: no kernel stack holds more. */
const MOST_FRAMES = 1024;

/** Whose stack is unwound, and from where. */
export interface StackStart {
  /** Address of the `task_struct`; undefined: only what the vCPU's registers say. */
  readonly task?: bigint;
  /** The CPU that the task was running on when the guest was saved. */
  readonly cpu?: number;
  /** That CPU's registers, if the input has them. */
  readonly vcpu?: Vcpu;
}

/** Unwinds the kernel stacks of one guest: by ORC on x86_64, by frame pointers on aarch64 and without ORC tables. */
export class Unwinder {
  readonly #kernel: Kernel;
  #tables: OrcTables | undefined;
  #whyNoTables: AbsentError | FormatError | undefined;
  #arm64: Arm64Frames | undefined;
  #isReady = false;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  async #prepare(): Promise<void> {
    if (this.#isReady) return;
    this.#isReady = true;
    await useModuleSymbols(this.#kernel);
    if (this.#kernel.arch.name === "aarch64") this.#arm64 = arm64Frames(this.#kernel);
    if (this.#kernel.arch.name !== "x86_64") return;
    try {
      this.#tables = await openOrcTables(this.#kernel);
    } catch (error) {
      if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
      this.#whyNoTables = error;
    }
  }

  /**
   * The frames of a task, innermost first: of a running one from its vCPU's registers, of a sleeping one from where
   * it was switched away. What stops it early is said in `ended`; nothing is thrown for what the memory holds.
   */
  async backtrace(start: StackStart): Promise<Backtrace> {
    const frames: StackFrame[] = [];
    try {
      await this.#prepare();
      const name = this.#kernel.arch.name;
      if (name === "x86_64") await this.#x86(start, frames);
      else if (name === "aarch64") await this.#aarch64(start, frames);
      else throw absent(STACK_RULES.architecture, `kernel stacks of ${name} are not unwound`);
      return { frames };
    } catch (error) {
      if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
      return { frames, ended: { code: error.code, message: error.message } };
    }
  }

  /** The stacks that a task may be on; none where its own isn't known. */
  async #walk({ task, cpu }: StackStart): Promise<{ stack: StackWalk; own: StackSpan | undefined }> {
    const kernel = this.#kernel;
    const own =
      task === undefined || !kernel.hasStruct("task_struct") ? undefined : await taskStack(kernel, task);
    const others = cpu === undefined ? [] : await cpuStacks(kernel, cpu);
    return { stack: new StackWalk(kernel.space, own === undefined ? [] : [own, ...others]), own };
  }

  async #x86(start: StackStart, frames: StackFrame[]): Promise<void> {
    const kernel = this.#kernel;
    const { stack, own } = await this.#walk(start);
    let state: X86State | undefined = await x86Start(kernel, stack, start);
    const recover = recoverer(kernel, start.task);
    const offsetFirst = this.#tables?.offsetBeforeIndirection ?? false;
    while (state !== undefined) {
      push(frames, {
        pc: state.pc,
        sp: state.sp,
        ...(state.registers !== undefined && isUser(state.registers)
          ? { mode: "user" }
          : { mode: "kernel", ...placeOf(kernel, state.pc, state.interrupted), ...stackOf(stack, state.sp) }),
        ...causeOf(start, frames, state.registers),
      });
      if (this.#tables !== undefined) state = await stepX86(this.#tables, stack, state, offsetFirst, recover);
      else if (this.#whyNoTables === undefined) state = await stepX86FramePointer(stack, state, own, recover);
      else if (state.registers !== undefined && isUser(state.registers)) return;
      else throw this.#whyNoTables;
    }
  }

  async #aarch64(start: StackStart, frames: StackFrame[]): Promise<void> {
    const kernel = this.#kernel;
    const { stack, own } = await this.#walk(start);
    let state: Arm64State | undefined = await arm64Start(kernel, start);
    const recover = recoverer(kernel, start.task);
    while (state !== undefined) {
      const { registers } = state;
      push(frames, {
        pc: state.pc,
        ...(registers?.sp === undefined ? {} : { sp: registers.sp }),
        ...(registers !== undefined && isUserArm64(registers)
          ? { mode: "user" }
          : { mode: "kernel", ...placeOf(kernel, state.pc, state.interrupted), ...stackOf(stack, state.fp) }),
        ...causeOf(start, frames, registers),
      });
      state = await stepArm64(kernel, this.#arm64, stack, state, own, recover);
    }
  }
}

function push(frames: StackFrame[], frame: StackFrame): void {
  if (frames.length === MOST_FRAMES) {
    throw damaged(STACK_RULES.tooLong, `the stack has more than ${MOST_FRAMES} frames; the rest is left out`);
  }
  frames.push(frame);
}

function stackOf(stack: StackWalk, address: bigint): Pick<StackFrame, "stack"> {
  const span = stack.spanOf(address) ?? stack.spanOf(address - 8n);
  return span === undefined ? {} : { stack: span.kind };
}

function causeOf(
  start: StackStart,
  before: readonly StackFrame[],
  registers: StackFrame["registers"],
): Pick<StackFrame, "registers" | "cause"> {
  if (registers === undefined) return {};
  return { registers, cause: before.length === 0 && start.vcpu !== undefined ? "vcpu" : "saved" };
}

/** Registers of the vCPU a task was running on; undefined for a task that slept. @throws AbsentError for one that ran elsewhere */
function runningRegisters(start: StackStart): X86Registers | Aarch64Registers | undefined {
  if (start.cpu === undefined && start.vcpu === undefined) return undefined;
  const registers = start.vcpu?.registers;
  if (registers !== undefined && registers.kind !== "other") return registers;
  throw absent(
    STACK_RULES.running,
    `the task was running on CPU ${start.cpu}, whose registers are not in the input`,
  );
}

async function x86Start(kernel: Kernel, stack: StackWalk, start: StackStart): Promise<X86State> {
  const running = runningRegisters(start);
  if (running?.kind === "x86") {
    const registers = x86VcpuRegisters(running);
    const { rip, rsp, rbp } = running.general;
    return { pc: rip, sp: rsp, bp: rbp, interrupted: true, registers, known: registers };
  }
  const task = await kernel.load("task_struct", start.task ?? 0n);
  const sp = task.pointer("thread.sp");
  // callee-saved registers and the return address into the code that switched away
  const type = kernel.hasStruct("inactive_task_frame") ? kernel.struct("inactive_task_frame") : undefined;
  const frame = type === undefined ? undefined : await kernel.load(type, sp);
  const size = type?.size ?? 56;
  const bp = frame === undefined ? await stack.word(sp + 40n) : frame.pointer("bp");
  const pc = frame === undefined ? await stack.word(sp + 48n) : frame.pointer("ret_addr");
  stack.enter(sp, BigInt(size));
  const isNew = pc === kernel.symbol("ret_from_fork_asm") || pc === kernel.symbol("ret_from_fork");
  return { pc, sp: sp + BigInt(size), bp, interrupted: isNew };
}

async function arm64Start(kernel: Kernel, start: StackStart): Promise<Arm64State> {
  const running = runningRegisters(start);
  if (running?.kind === "aarch64") {
    const registers = arm64VcpuRegisters(running);
    const isUserMode = isUserArm64(registers);
    return { pc: running.pc, fp: isUserMode ? 0n : (running.x[29] ?? 0n), interrupted: true, registers };
  }
  const task = await kernel.load("task_struct", start.task ?? 0n);
  const pc = task.pointer("thread.cpu_context.pc");
  if (pc === 0n)
    throw damaged(STACK_RULES.left, `the task at ${hex(task.address)} has no saved place in code`);
  return { pc: kernel.stripPac(pc), fp: task.pointer("thread.cpu_context.fp"), interrupted: false };
}
