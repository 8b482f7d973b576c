import type { Fact } from "./fact.js";

/** What a Linux guest's memory says, as plain data. Times in nanoseconds since boot. */
export interface LinuxSummary {
  readonly facts: readonly Fact[];
  /** What each CPU did when the guest was saved. */
  readonly cpus: readonly { readonly cpu: number; readonly task?: string; readonly at?: string }[];
  readonly hung: readonly { readonly pid: number; readonly comm: string; readonly blocked: number }[];
  /** What can't be had, and why. */
  readonly missing: readonly Fact[];
}

export interface LogLine {
  readonly time?: number;
  /** Syslog level, 0 (emerg) to 7 (debug). */
  readonly level?: number;
  readonly caller?: string;
  readonly text: string;
}

export interface LogLines {
  readonly lines: readonly LogLine[];
  readonly remarks: readonly string[];
  /** Lines left out: more than are shown. */
  readonly leftOut: number;
}

export interface TaskRow {
  /** Address of its task_struct. */
  readonly address: bigint;
  readonly pid: number;
  readonly tgid: number;
  readonly ppid: number;
  readonly comm: string;
  readonly state: string;
  readonly kthread: boolean;
  readonly cpu?: number;
  readonly onCpu: boolean;
  readonly uid?: number;
  readonly startTime?: number;
  /** User and system time. */
  readonly time: number;
  /** Bytes. */
  readonly rss?: number;
  readonly commandLine?: readonly string[];
}

export interface TaskRows {
  readonly tasks: readonly TaskRow[];
  readonly remarks: readonly string[];
}

export interface FrameRow {
  readonly pc: bigint;
  readonly mode: "kernel" | "user";
  /** `schedule+0x5e/0xd0`. */
  readonly place?: string;
  readonly stack?: string;
}

export interface StackRows {
  readonly frames: readonly FrameRow[];
  /** Why it stops before the end of the stack. */
  readonly ended?: string;
}

export interface ModuleRow {
  readonly name: string;
  readonly address: bigint;
  readonly size: number;
  readonly taint: string;
}

/** What is asked of a Linux guest, and what is answered. */
export interface LinuxMethods {
  linuxSummary: { argument: undefined; result: LinuxSummary };
  linuxLog: { argument: undefined; result: LogLines };
  linuxTasks: { argument: undefined; result: TaskRows };
  linuxModules: { argument: undefined; result: readonly ModuleRow[] };
  /** The stack of the task whose task_struct is at an address. */
  linuxStack: { argument: { readonly task: bigint }; result: StackRows };
}
