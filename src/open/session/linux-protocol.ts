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

export interface MountRow {
  readonly id: number;
  readonly source: string;
  readonly target: string;
  readonly type: string;
  readonly readOnly: boolean;
  /** Address of its struct mount. */
  readonly address: bigint;
}

export interface InterfaceRow {
  /** Number of its network namespace. */
  readonly namespace: number;
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly hardwareAddress: string;
  readonly addresses: readonly string[];
}

export interface SocketRow {
  readonly protocol: string;
  readonly state: string;
  readonly local: string;
  readonly remote: string;
  readonly owners: readonly { readonly pid: number; readonly comm: string; readonly fd: number }[];
  /** Address of its struct sock. */
  readonly address: bigint;
}

export interface NetworkRows {
  readonly interfaces: readonly InterfaceRow[];
  readonly sockets: readonly SocketRow[];
}

/** A mapping of a process; `end` exclusive. */
export interface MappingRow {
  readonly start: bigint;
  readonly end: bigint;
  /** `r-xp`. */
  readonly permissions: string;
  readonly file?: string;
}

/** A member of a structure, those of structures in it after it with a greater `depth`. */
export interface StructureRow {
  readonly depth: number;
  readonly name: string;
  /** As C declares it. */
  readonly type: string;
  /** Bytes from the start of the whole. */
  readonly offset: number;
  readonly size: number;
  /** First bit in the byte at `offset`, and bits, of a bit-field. */
  readonly bit?: number;
  readonly bits?: number;
  /** What it holds; undefined: it isn't asked for, or can't be read. */
  readonly value?: string;
  /** Where a pointer leads, and the structure that is there. */
  readonly pointer?: bigint;
  readonly target?: string;
  /** The symbol that a pointer lies in. */
  readonly symbol?: string;
}

export interface StructureView {
  /** `struct task_struct`. */
  readonly name: string;
  readonly size: number;
  readonly address?: bigint;
  readonly rows: readonly StructureRow[];
  readonly leftOut: number;
}

/** What is asked of a Linux guest, and what is answered. */
export interface LinuxMethods {
  linuxSummary: { argument: undefined; result: LinuxSummary };
  linuxLog: { argument: undefined; result: LogLines };
  linuxTasks: { argument: undefined; result: TaskRows };
  linuxModules: { argument: undefined; result: readonly ModuleRow[] };
  linuxMounts: { argument: undefined; result: readonly MountRow[] };
  linuxNetwork: { argument: undefined; result: NetworkRows };
  /** Virtual memory of the process whose task_struct is at an address. */
  linuxMappings: { argument: { readonly task: bigint }; result: readonly MappingRow[] };
  /** A structure's layout, and what it holds at an address or at a symbol. */
  linuxStructure: {
    argument: { readonly name: string; readonly at?: string };
    result: StructureView;
  };
  /** The symbols that addresses lie in: `schedule+0x5e/0xd0`; empty where none is. */
  linuxSymbols: { argument: { readonly addresses: readonly bigint[] }; result: readonly string[] };
  /** The address of a symbol; undefined when the kernel has none of that name. */
  linuxAddress: { argument: { readonly name: string }; result: bigint | undefined };
  /** The stack of the task whose task_struct is at an address. */
  linuxStack: { argument: { readonly task: bigint }; result: StackRows };
}
