import { appendTo } from "../../binary/arrays.js";
import { type AbsentReason, absentReasons } from "../../guest/absent.js";
import { mappedFileAt, type ProcessMemory, type ProcessPiece } from "../../elf/process-memory.js";
import type { Presence } from "../../guest/memory.js";
import type { ByteSource } from "../../io/byte-source.js";

const ABSENT = absentReasons({
  cut: { kind: "truncated", text: "the core is cut short" },
  guestCoreOff: { kind: "not-saved", text: "left out of the core: -machine dump-guest-core=off" },
  backendOff: { kind: "not-saved", text: "left out of the core: its memory backend has dump=off" },
  noSegment: { kind: "not-saved", text: "the core has no segment for it" },
  unknown: {
    kind: "not-saved",
    text: "zeros or lost: the core has no contents and QEMU's settings can't be read",
  },
  neverWritten: { kind: "never-written", text: "never written" },
});

/** Guest-physical or host addresses, bytes, `end` exclusive. */
export interface AddressRange {
  readonly start: number;
  readonly end: number;
}

/** A run of guest memory and where its contents are, if anywhere. */
export interface Extent extends AddressRange {
  readonly presence: Presence;
  /** Where to read it (present only). */
  readonly source?: ByteSource;
  readonly offset?: number;
  readonly reason?: AbsentReason;
}

/** A file that holds a memory backend's contents, given because the core lacks them. */
export interface Backing {
  /** What the file is for: a RAM block's name, the last part of it, or the file name QEMU mapped. */
  readonly id: string;
  readonly source: ByteSource;
}

/** What is known of a block of RAM whose contents may not be in the core. */
export interface BackingBlock {
  readonly id: string;
  /** Host address of its first byte. */
  readonly host: number;
  /** Bytes per page of what it is mapped from. */
  readonly pageSize?: number | undefined;
  /** Whether its memory backend lets cores have it; undefined: no backend, or it can't be read. */
  readonly dumped: boolean | undefined;
}

/** Decides what bytes that a core lacks mean. */
export class PresenceRules {
  readonly #memory: ProcessMemory;
  readonly #dumpGuestCore: boolean | undefined;
  readonly #backings: readonly Backing[];
  /** Files given that were read from. */
  readonly used = new Set<Backing>();

  /** @param dumpGuestCore the machine's setting; undefined where it isn't known */
  constructor(memory: ProcessMemory, dumpGuestCore: boolean | undefined, backings: readonly Backing[]) {
    this.#memory = memory;
    this.#dumpGuestCore = dumpGuestCore;
    this.#backings = backings;
  }

  /** Extents of guest memory from `start` on: `length` bytes of a block from host address `from` on. */
  extents(block: BackingBlock, from: number, length: number, start: number): Extent[] {
    const memory = this.#memory;
    const toGuest = start - from;
    const extents: Extent[] = [];
    for (const piece of memory.pieces(from, from + length)) {
      const where = { start: piece.address + toGuest, end: piece.address + piece.length + toGuest };
      if (piece.presence === "present" && piece.offset !== undefined) {
        extents.push({ ...where, presence: "present", source: memory.source, offset: piece.offset });
      } else {
        appendTo(extents, this.#lacking(memory, piece, toGuest, block));
      }
    }
    return extents;
  }

  /** Parts of a piece without contents: mappings of files may begin or end within it. */
  *#lacking(
    memory: ProcessMemory,
    piece: ProcessPiece,
    toGuest: number,
    block: BackingBlock,
  ): Iterable<Extent> {
    const pieceEnd = piece.address + piece.length;
    for (let at = piece.address; at < pieceEnd; ) {
      const file = mappedFileAt(memory, at);
      const next = memory.files.find((candidate) => candidate.start > at)?.start ?? Infinity;
      const end = Math.min(pieceEnd, file?.end ?? next);
      const where = { start: at + toGuest, end: end + toGuest };
      const backing = this.#backing(block, file?.path);
      if (backing !== undefined) {
        this.used.add(backing);
        const offset = file === undefined ? at - block.host : file.fileOffset + (at - file.start);
        yield* fromFile(where, backing.source, offset);
      } else if (piece.presence === "truncated") {
        yield { ...where, presence: "absent", reason: ABSENT.cut };
      } else if (file !== undefined) {
        yield {
          ...where,
          presence: "absent",
          reason: { kind: "elsewhere", text: fileReason(file.path, block) },
        };
      } else {
        yield { ...where, ...this.#anonymous(piece, block) };
      }
      at = end;
    }
  }

  #anonymous(piece: ProcessPiece, { dumped }: BackingBlock): { presence: Presence; reason: AbsentReason } {
    if (this.#dumpGuestCore === false) return { presence: "absent", reason: ABSENT.guestCoreOff };
    if (dumped === false) return { presence: "absent", reason: ABSENT.backendOff };
    if (piece.presence === "unmapped") return { presence: "absent", reason: ABSENT.noSegment };
    if (this.#dumpGuestCore === undefined) {
      return { presence: "absent", reason: ABSENT.unknown };
    }
    return { presence: "zero", reason: ABSENT.neverWritten };
  }

  #backing(block: BackingBlock, path: string | undefined): Backing | undefined {
    const base = (name: string): string => name.slice(name.lastIndexOf("/") + 1);
    const file = path?.replace(/ \(deleted\)$/, "");
    const names = [block.id, base(block.id), ...(file === undefined ? [] : [file, base(file)])];
    return this.#backings.find(({ id }) => names.includes(id));
  }
}

const HUGE = 64 << 10;

/** Why memory mapped from a file is not there. */
function fileReason(path: string, { pageSize }: BackingBlock): string {
  if (!path.endsWith(" (deleted)")) return `only in the file it is mapped from, ${path}`;
  const bits = pageSize !== undefined && pageSize > HUGE ? " (huge pages: bits 5 and 6)" : "";
  return `left out by coredump_filter${bits}; the file it was mapped from is gone, ${path}`;
}

/** What a file has of a range; its end is the end of what is known. */
function* fromFile(where: AddressRange, source: ByteSource, offset: number): Iterable<Extent> {
  const there = Math.max(0, Math.min(where.end - where.start, source.size - offset));
  const end = where.start + there;
  if (there > 0) yield { start: where.start, end, presence: "present", source, offset };
  if (end < where.end)
    yield {
      start: end,
      end: where.end,
      presence: "absent",
      reason: { kind: "truncated", text: `beyond the end of ${source.name}` },
    };
}
