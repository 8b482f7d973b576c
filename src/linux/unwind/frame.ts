import type { SymbolPlace } from "../symbols.js";

/** Registers by the architecture manuals' names in lower case. */
export type FrameRegisters = Readonly<Record<string, bigint>>;

/** One frame of a backtrace, innermost first. */
export interface StackFrame {
  /** Address of the next instruction; in a caller, the address its call returns to. */
  readonly pc: bigint;
  /** Stack pointer in this frame, where it is known. */
  readonly sp?: bigint;
  /** The function that `pc` is in; undefined for user mode and for code without a name. */
  readonly place?: SymbolPlace;
  readonly mode: "kernel" | "user";
  /** Registers as an interrupt, exception or system call kept them, or as the vCPU had them. */
  readonly registers?: FrameRegisters;
  /** What `registers` are of: the running vCPU, or what an entry into the kernel saved. */
  readonly cause?: "vcpu" | "saved";
  /** The stack that the frame is on, where it is known. */
  readonly stack?: StackKind;
}

/** Stacks of a task and of the CPU it runs on; the names of x86 exception stacks are the kernel's: `NMI`, `#DF` … */
export type StackKind =
  | "task"
  | "irq"
  | "overflow"
  | "entry"
  | "#DF"
  | "NMI"
  | "#DB"
  | "#MC"
  | "#VC"
  | "#VC2";

/** The frames of one task. */
export interface Backtrace {
  readonly frames: readonly StackFrame[];
  /** Why it stops before the end of the stack: the rule and what was seen. Undefined: it is whole. */
  readonly ended?: { readonly code: string; readonly message: string };
}
