import type { ByteSource, MaybePromise } from "../io/byte-source.js";

/**
 * What a core holds of a run of addresses.
 *
 * - `present`: contents are in the file.
 * - `elided`: a mapping without contents in the file (p_filesz ends before p_memsz): never written, or left out
 *   on purpose; the core alone can't tell which.
 * - `truncated`: the core says it has the contents and ends before them.
 * - `unmapped`: no segment covers the addresses.
 */
export type ProcessPresence = "present" | "elided" | "truncated" | "unmapped";

/** A run of addresses of one presence. */
export interface ProcessPiece {
  readonly address: number;
  readonly length: number;
  readonly presence: ProcessPresence;
  /** Where the contents start in `ProcessMemory.source`; only when present. */
  readonly offset?: number;
}

/** A file mapped into the process. */
export interface MappedFile {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Offset in the file of what is mapped at `start`, in bytes. */
  readonly fileOffset: number;
  /** As the kernel shows it; may end in ` (deleted)`. */
  readonly path: string;
}

/** Addresses that the process has mapped, whether their contents are there or not. */
export interface ProcessMapping {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly writable: boolean;
}

/** The memory of a process by its own virtual addresses (user space: below 2^53), saved in a core or live. */
export interface ProcessMemory {
  /** Name of the input, for messages. */
  readonly name: string;
  /** The file that `ProcessPiece.offset` counts in. */
  readonly source: ByteSource;
  /** File mappings by address; empty where the source doesn't say. */
  readonly files: readonly MappedFile[];
  /** All mappings by address, a mapping of the kernel each: neighbours may belong together. */
  readonly mappings: readonly ProcessMapping[];
  /**
   * Fills `into` from `address` on. Returns how many bytes could be read: it stops before the first byte
   * whose contents are not there (0 when that is the first).
   */
  read(address: number, into: Uint8Array): MaybePromise<number>;
  /** Pieces that cover [start, end) completely, ascending, neighbours of one presence joined where offsets allow. */
  pieces(start: number, end: number): Iterable<ProcessPiece>;
}

/** The bytes [base, base + size) of a process as a source: to read an ELF header out of memory, for one. */
export function processSource(
  memory: ProcessMemory,
  base: number,
  size: number,
  name: string = memory.name,
): ByteSource {
  return {
    name,
    size,
    read(offset, into) {
      const room = Math.max(0, Math.min(into.length, size - offset));
      return memory.read(base + offset, room === into.length ? into : into.subarray(0, room));
    },
  };
}

/** The file mapped at an address. */
export function mappedFileAt(memory: ProcessMemory, address: number): MappedFile | undefined {
  return memory.files.find((file) => file.start <= address && address < file.end);
}
