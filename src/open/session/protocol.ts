import type { Severity } from "../../findings/rule.js";
import type { Fact } from "./fact.js";
import type { LinuxMethods } from "./linux-protocol.js";

/**
 * The protocol between a viewer and whoever holds a saved guest: a worker of the browser, or a server on this
 * machine. All of it is plain data that structured cloning takes: no functions, no classes but typed arrays and Map.
 */

/** What went wrong, as data. */
export interface Problem {
  readonly severity: Severity;
  /** Stable code; `internal` for a fault of the program. */
  readonly code: string;
  readonly message: string;
  /** Bytes from the start of the input. */
  readonly offset?: number;
  readonly record?: string;
  /** Clause of the specification. */
  readonly spec?: string;
  /** What it means and what to do. */
  readonly explanation?: string;
}

/** What an input is, by its first bytes. */
export interface Identity {
  readonly name: string;
  /** Bytes; undefined for a running process. */
  readonly size?: number;
  /** Stable id of the format. */
  readonly format: string;
  readonly title: string;
  /** What the whole input was packed with. */
  readonly compression?: string;
}

/** A layer of a file: [start, end) in bytes from its start. */
export interface Layer {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly version?: string;
}

export interface ProcessorSummary {
  readonly id: number;
  /** Register that holds the address of the next instruction, and the stack's. */
  readonly pc?: bigint;
  readonly sp?: bigint;
  /** `64-bit`, `32-bit`, `16-bit`, `real mode` …, with the privilege level. */
  readonly mode?: string;
  readonly halted?: boolean;
  readonly caveat?: string;
}

/** A saved guest on one page. */
export interface Overview {
  readonly identity: Identity;
  /** Name of the guest, if the input gives it. */
  readonly name?: string;
  readonly facts: readonly Fact[];
  readonly layers: readonly Layer[];
  /** Bytes of each kind; what the guest itself gave back counts as none. Undefined: no memory could be opened. */
  readonly memory?: { readonly present: number; readonly zero: number; readonly absent: number };
  readonly processors: readonly ProcessorSummary[];
  readonly software: readonly Fact[];
  /** Whether memory was searched for a kernel where nothing points at one. */
  readonly searched: boolean;
  /** Why the input could be opened only in part, or no guest could be built from it. */
  readonly problems: readonly Problem[];
  readonly warnings: readonly string[];
}

/** Guest-physical memory as columns: run `i` is [starts[i], ends[i]), sorted and disjoint, of kind `kinds[i]`. */
export interface MemoryTable {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  readonly kinds: Uint8Array;
  readonly legend: readonly MemoryKind[];
  /** There were more runs than are listed: from this address on nothing is. */
  readonly cutAt?: number;
}

export interface MemoryKind {
  readonly presence: "present" | "zero" | "absent";
  readonly reason?: string;
  /** The guest itself has no memory there: nothing is lost. */
  readonly unpopulated?: true;
  /** Number of a colour of its own, where kinds of present memory are told apart. */
  readonly tone?: number;
  /** 0…1: how much of something there is, on a scale of colours. */
  readonly heat?: number;
  /** Bytes of it. */
  readonly bytes: number;
}

/**
 * Where addresses count: the input itself, guest-physical memory, the page tables of one processor, a Linux kernel's
 * own, or those of one of its processes.
 */
export type Space = "file" | "physical" | "kernel" | `vcpu:${number}` | `pid:${number}`;

export type ByteState = "present" | "zero" | "absent" | "hole" | "unmapped" | "damaged" | "end";

/** A run of read bytes of one state. */
export interface ReadRun {
  /** Within the bytes read. */
  readonly offset: number;
  readonly length: number;
  readonly state: ByteState;
  readonly reason?: string;
  /** Guest-physical address of the first byte, for virtual spaces. */
  readonly physical?: number;
}

export interface ReadResult {
  readonly address: bigint;
  /** Bytes of runs that are neither present nor zero are 0 here and mean nothing. */
  readonly bytes: Uint8Array;
  readonly runs: readonly ReadRun[];
}

/** One page a number: entropy (0…255 for 0…8 bits a byte), share of text (0…255); 255/255 with `there` 0 is unknown. */
export interface Samples {
  readonly there: Uint8Array;
  readonly entropy: Uint8Array;
  readonly text: Uint8Array;
}

export interface PageHashes {
  /** Two words a page. */
  readonly hashes: Uint32Array;
  /** 1: hashed; 0: its contents are not known. */
  readonly known: Uint8Array;
}

export interface SearchRequest {
  readonly pattern: Uint8Array;
  /** Letters of ASCII match in both cases. */
  readonly ignoreCase?: boolean;
  /** Guest-physical address to go on from. */
  readonly from: number;
  /** Bytes of memory to look through at most in this call. */
  readonly budget: number;
  readonly mostHits: number;
}

export interface SearchResult {
  readonly hits: Float64Array;
  /** Where to go on; undefined: memory is searched to its end. */
  readonly next?: number;
  /** Bytes looked through. */
  readonly done: number;
}

export interface RegisterValue {
  readonly name: string;
  readonly value: bigint;
  readonly bits: number;
  /** Flags that are set, or what the value selects. */
  readonly meaning?: string;
}

export interface RegisterGroup {
  /** `general`, `control`, `debug`, `msrs`, `system`, `named`. */
  readonly name: string;
  readonly registers: readonly RegisterValue[];
}

export interface SegmentRow {
  readonly name: string;
  readonly selector: number;
  readonly base: bigint;
  readonly limit: number;
  readonly flags: number;
  readonly meaning: string;
}

export interface Processor extends ProcessorSummary {
  readonly groups: readonly RegisterGroup[];
  readonly segments: readonly SegmentRow[];
  /** Code around the next instruction, which begins at `at`. */
  readonly code?: { readonly address: bigint; readonly bytes: Uint8Array; readonly at: number };
  /** Whether addresses can be translated through its page tables. */
  readonly translates: boolean;
}

/** A part of the file: record, section, segment, header; [start, end). */
export interface FilePart {
  readonly start: number;
  readonly end: number;
  readonly layer: string;
  readonly name: string;
  /** In a few words: pages, addresses … */
  readonly detail?: string;
  /** Names of the structures it begins with, for `fields`. */
  readonly structures?: readonly string[];
}

export interface FileParts {
  readonly parts: readonly FilePart[];
  /** Parts left out at the end of a list that is too long. */
  readonly leftOut: number;
  readonly order: "little" | "big";
}

export interface FieldRow {
  readonly structure: string;
  readonly spec: string;
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly type: string;
  readonly meaning: string;
  readonly value: string;
}

export interface Findings {
  readonly valid: boolean;
  readonly verdict: string;
  readonly errors: number;
  readonly warnings: number;
  readonly notes: number;
  readonly findings: readonly Problem[];
  /** Code → findings left out. */
  readonly omitted: readonly (readonly [code: string, more: number])[];
  /** Set where this format has no verifier. */
  readonly unsupported?: string;
}

/** Arguments and results by method. */
export interface Methods extends LinuxMethods {
  open: { argument: undefined; result: Identity };
  /**
   * As much of the overview as the guest's own headers and index hold, or all that the file says; without a search
   * through memory for a kernel that its vCPUs don't point at.
   */
  glance: { argument: { readonly of: "guest" | "file" }; result: Overview };
  overview: { argument: undefined; result: Overview };
  memory: { argument: undefined; result: MemoryTable };
  /** Memory by the kinds of pages in the file, or by how often they were sent; undefined: the input doesn't tell. */
  pageKinds: { argument: { readonly by: "kind" | "sends" }; result: MemoryTable | undefined };
  processors: { argument: undefined; result: readonly Processor[] };
  read: {
    argument: { readonly space: Space; readonly address: bigint; readonly length: number };
    result: ReadResult;
  };
  sample: { argument: { readonly addresses: Float64Array }; result: Samples };
  hashPages: { argument: { readonly start: number; readonly pages: number }; result: PageHashes };
  search: { argument: SearchRequest; result: SearchResult };
  parts: { argument: undefined; result: FileParts };
  fields: {
    argument: { readonly start: number; readonly end: number; readonly structures: readonly string[] };
    result: readonly FieldRow[];
  };
  verify: { argument: undefined; result: Findings };
  /** The inspection as JSON text, as `inspect --json` prints it. */
  document: { argument: undefined; result: string };
  /** Writes a vmcore; its bytes come as `piece` messages, the result says what is missing. */
  extract: {
    argument: { readonly to: "elf" | "raw" };
    result: {
      readonly present: number;
      readonly zero: number;
      readonly absent: number;
      readonly size: number;
    };
  };
  close: { argument: undefined; result: undefined };
}

export type Method = keyof Methods;

export interface Call<M extends Method = Method> {
  readonly id: number;
  readonly method: M;
  readonly argument: Methods[M]["argument"];
}

/** Answers to a call: any number of `progress` and `piece`, then one `result` or `error`. */
export type Reply =
  | {
      readonly id: number;
      readonly kind: "progress";
      readonly done: number;
      readonly total?: number;
      readonly phase: string;
    }
  | { readonly id: number; readonly kind: "piece"; readonly bytes: Uint8Array }
  | { readonly id: number; readonly kind: "result"; readonly result: unknown }
  | { readonly id: number; readonly kind: "error"; readonly problem: Problem };
