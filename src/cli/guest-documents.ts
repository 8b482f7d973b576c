import type { Task } from "../linux/tasks.js";
import type { MemoryDifference, ValueDifference } from "../guest/compare.js";
import type { Hit } from "../guest/search.js";
import type { Severity } from "../findings/rule.js";
import type { ErrorData } from "./failure.js";
import type { LinuxDifference } from "../linux/compare.js";
import type { NetworkNamespace } from "../linux/interfaces.js";
import type { LOG_LEVELS } from "../linux/log/record.js";
import type { ModuleRange } from "../linux/modules.js";
import type { Mount } from "../linux/mounts.js";
import type { OpenFile } from "../linux/open-files.js";
import type { PageOwner } from "../linux/pages/page-owner.js";
import type { Trouble } from "../linux/rules.js";
import type { OpenSocket } from "../linux/sockets.js";
import type { SymbolFileKind } from "../linux/symbols/files.js";
import type { LinuxSystem } from "../linux/system.js";
import type { FrameRegisters, StackKind } from "../linux/unwind/frame.js";
import type { UserMapping } from "../linux/user-mappings.js";
import type { MemoryValue } from "../linux/value-text.js";

interface SourceDocument<Kind extends string> {
  readonly schemaVersion: 1;
  readonly kind: Kind;
  readonly source: string;
}

interface LinuxDocument<Kind extends string> extends SourceDocument<Kind> {
  readonly release?: string;
  /** What was missing or damaged on the way. */
  readonly troubles: readonly Trouble[];
}

/** A message of the kernel log. What its kernel doesn't keep is left out. */
export interface LogRecordRow {
  /** Number of the message since boot. */
  readonly seq?: number;
  /** Nanoseconds since boot. */
  readonly time?: number;
  /** Syslog level, 0 (emerg) to 7 (debug). */
  readonly level?: number;
  readonly levelName?: (typeof LOG_LEVELS)[number];
  readonly facility?: number;
  readonly facilityName?: string;
  /** `T1` for a task, `C0` for a CPU. */
  readonly caller?: string;
  /** Name of the task that printed. */
  readonly comm?: string;
  readonly device?: { readonly subsystem: string; readonly device: string };
  readonly text: string;
}

/** Something that was met in the log. */
export interface LogRemark extends Trouble {
  readonly severity: Severity;
}

/** What `log --json` prints. */
export interface LinuxLogDocument extends SourceDocument<"linux-log"> {
  readonly records: readonly LogRecordRow[];
  readonly troubles: readonly LogRemark[];
}

/** A task as `ps` lists it. */
export interface TaskRow
  extends Pick<
    Task,
    | "pid"
    | "tgid"
    | "ppid"
    | "comm"
    | "state"
    | "stateNumber"
    | "exitState"
    | "frozen"
    | "kthread"
    | "onCpu"
    | "utime"
    | "stime"
  > {
  /** Address of its task_struct. */
  readonly task: bigint;
  readonly idle?: true;
  readonly cpu?: number;
  readonly uid?: number;
  /** Nanoseconds since boot. */
  readonly startTime?: number;
  /** Bytes. */
  readonly rss?: number;
  /** Bytes. */
  readonly size?: number;
  readonly cmdline: readonly string[];
  /** Why there is no command line, or not all of it. */
  readonly cmdlineMissing?: string;
}

/** What `ps --json` prints. */
export interface LinuxTasksDocument extends LinuxDocument<"linux-tasks"> {
  readonly tasks: readonly TaskRow[];
}

/** A frame of a stack, innermost first. */
export interface FrameRow {
  /** Address of the next instruction. */
  readonly pc: bigint;
  /** `schedule+0x5a/0xc7`. */
  readonly symbol?: string;
  readonly module?: string;
  readonly mode: "kernel" | "user";
  readonly sp?: bigint;
  readonly stack?: StackKind;
  readonly cause?: "vcpu" | "saved";
  readonly registers?: FrameRegisters;
  /** What the process had mapped at `pc`. */
  readonly mapping?: UserMapping;
}

interface StackRow {
  readonly frames: readonly FrameRow[];
  /** Why it stops before the end of the stack. */
  readonly ended?: Trouble;
}

/** The stack of a task. */
export interface TaskStackRow extends StackRow {
  readonly pid: number;
  readonly tgid: number;
  readonly comm: string;
  readonly state: string;
  /** Address of its task_struct. */
  readonly task: bigint;
  readonly kthread: boolean;
  readonly idle?: true;
  readonly cpu?: number;
  readonly running: boolean;
}

/** The stack of a vCPU whose task isn't known. */
export interface VcpuStackRow extends StackRow {
  readonly vcpu: number;
}

/** What `bt --json` prints. */
export interface LinuxStacksDocument extends LinuxDocument<"linux-stacks"> {
  readonly tasks: readonly TaskStackRow[];
  readonly vcpus?: readonly VcpuStackRow[];
}

/** What `sys --json` prints. */
export interface LinuxSystemDocument extends LinuxDocument<"linux-system">, Omit<LinuxSystem, "clock"> {
  /** `2026-11-21T10:18:46Z`. */
  readonly savedAt?: string;
  readonly bootTime?: string;
  /** Seconds. */
  readonly uptime?: number;
  /** The message of the kernel's panic. */
  readonly panic?: string;
}

/** A module as `mod` lists it. */
export interface ModuleRow {
  readonly name: string;
  /** Where its code begins. */
  readonly address: bigint;
  /** Bytes in all. */
  readonly size: number;
  /** Letters of what it taints the kernel with. */
  readonly taint: string;
  readonly ranges: readonly ModuleRange[];
  /** Address of its struct module. */
  readonly module: bigint;
}

/** What `mod --json` prints. */
export interface LinuxModulesDocument extends LinuxDocument<"linux-modules"> {
  readonly modules: readonly ModuleRow[];
}

/** What `mount --json` prints. */
export interface LinuxMountsDocument extends LinuxDocument<"linux-mounts"> {
  /** The process whose mount namespace it is. */
  readonly pid: number;
  readonly mounts: readonly Mount[];
}

/** What `net --json` prints. */
export interface LinuxNetworkDocument extends LinuxDocument<"linux-network"> {
  readonly namespaces: readonly NetworkNamespace[];
  readonly sockets: readonly OpenSocket[];
}

/** What `files --json` prints. */
export interface LinuxFilesDocument extends LinuxDocument<"linux-files"> {
  readonly pid: number;
  readonly comm: string;
  readonly files: readonly OpenFile[];
}

/** What `maps --json` prints. */
export interface LinuxMappingsDocument extends LinuxDocument<"linux-mappings"> {
  readonly pid: number;
  readonly comm: string;
  readonly mappings: readonly UserMapping[];
}

/** A symbol that was found: its place is left out where it isn't known. */
export interface SymbolRow {
  readonly address: bigint;
  readonly name?: string;
  /** Bytes from the symbol. */
  readonly offset?: number;
  /** Bytes to the next symbol; 0 when there is none. */
  readonly size?: number;
  /** The module it belongs to. */
  readonly module?: string;
}

/** What `sym --json` prints. */
export interface LinuxSymbolsDocument extends LinuxDocument<"linux-symbols"> {
  readonly symbols: readonly SymbolRow[];
}

/** A member of a structure. */
export interface MemberRow {
  readonly name: string;
  /** Bytes from the structure's start. */
  readonly offset: number;
  /** Of a bit field: bits from `offset`. */
  readonly bitOffset?: number;
  /** Of a bit field: its width. */
  readonly bits?: number;
  readonly type: string;
  /** Bytes. */
  readonly size: number;
}

/** What `struct --json` prints of a layout. */
export interface LinuxTypeDocument extends LinuxDocument<"linux-type"> {
  readonly name: string;
  /** The module that has it. */
  readonly module?: string;
  /** Bytes. */
  readonly size: number;
  /** Bytes from the structure's start to the member asked for. */
  readonly offset: number;
  readonly members: readonly MemberRow[];
}

/** What `struct --json` prints of what is at an address. */
export interface LinuxValueDocument extends LinuxDocument<"linux-value"> {
  readonly name: string;
  readonly address: bigint;
  readonly value: MemoryValue;
}

/** What `symbols --json` prints: which numbers of what was written there are, is by kind of file. */
export interface LinuxSymbolFileDocument extends LinuxDocument<"linux-symbol-file"> {
  readonly output: string;
  readonly to: SymbolFileKind;
  readonly symbols?: number;
  readonly types?: number;
  readonly variables?: number;
  readonly bytes?: number;
}

/** A part of memory: its bytes in hexadecimal, or why they are missing. */
export interface MemoryPart {
  readonly address: string;
  readonly length: number;
  readonly bytes?: Uint8Array;
  readonly text?: string;
  readonly missing?: string;
}

/** What `read --json` prints. */
export interface MemoryDocument extends SourceDocument<"memory"> {
  readonly address: string;
  readonly length: number;
  readonly parts: readonly MemoryPart[];
  /** Whose page the first byte is in, where that was asked for and is known. */
  readonly owner?: PageOwner;
}

/** A match, with whose page it is in where that is known. */
export interface HitRow extends Hit {
  readonly owner?: PageOwner;
}

/** What `search --json` prints; with `--count` there are no hits. Hits are written as they are found. */
export interface SearchDocument extends SourceDocument<"search"> {
  readonly addresses?: "physical" | "virtual";
  readonly hits?: readonly HitRow[];
  readonly count: number;
  /** What ended the search after the first hits: those before it are listed and counted. */
  readonly error?: ErrorData;
}

/** What differs between two guests. */
export interface Differences {
  readonly facts: readonly ValueDifference[];
  readonly memory: MemoryDifference;
  readonly registers: readonly ValueDifference[];
  readonly devices: readonly ValueDifference[];
  /** Undefined where no kernel could be read in both. */
  readonly linux?: LinuxDifference | undefined;
  /** What wasn't compared, and why. */
  readonly notCompared: readonly string[];
}

interface Compared {
  readonly source: string;
  /** What the input is. */
  readonly origin: string;
}

/** What `diff --json` prints. */
export interface DiffDocument extends Differences {
  readonly schemaVersion: 1;
  readonly kind: "diff";
  readonly first: Compared;
  readonly second: Compared;
  readonly same: boolean;
}

/** Documents of commands that look into a Linux kernel and print a single list or value. */
export type KernelDocument =
  | LinuxModulesDocument
  | LinuxMountsDocument
  | LinuxNetworkDocument
  | LinuxFilesDocument
  | LinuxMappingsDocument
  | LinuxSymbolsDocument
  | LinuxTypeDocument
  | LinuxValueDocument
  | LinuxTasksDocument;
