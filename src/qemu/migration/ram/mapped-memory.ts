import type { AbsentReason } from "../../../guest/absent.js";
import type { MemoryPiece, MemoryRange, PhysicalMemory, SourcePiece } from "../../../guest/memory.js";
import { findSegment, firstEndingAfter, joinAlike, readSegments } from "../../../guest/segmented.js";
import type { MaybePromise } from "../../../io/byte-source.js";

/** A run of guest-physical addresses that shows a run of another memory, or nothing that is known. */
export interface Mapping {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Where `start` is in the memory below; undefined: the contents are unknown, for `reason`. */
  readonly at: number | undefined;
  readonly reason?: AbsentReason | undefined;
}

/** Physical memory as a machine sees it: pieces of RAM blocks at their addresses. */
export class MappedMemory implements PhysicalMemory {
  readonly #below: PhysicalMemory;
  readonly #mappings: readonly Mapping[];
  readonly #lack: AbsentReason;
  readonly #again: (at: number) => number;

  /**
   * @param mappings sorted, disjoint.
   * @param lack why the memory below holds nothing where nothing was said of it.
   * @param again how often the page at an address of the memory below came again.
   */
  constructor(
    below: PhysicalMemory,
    mappings: readonly Mapping[],
    lack: AbsentReason,
    again: (at: number) => number = () => 0,
  ) {
    this.#below = below;
    this.#mappings = mappings;
    this.#lack = lack;
    this.#again = again;
  }

  ranges(): Iterable<MemoryRange> {
    return joinAlike(this.#parts());
  }

  *#parts(): Iterable<MemoryRange> {
    const below = [...this.#below.ranges()];
    for (const { start, end, at, reason } of this.#mappings) {
      if (at === undefined) {
        yield { start, end, presence: "absent", reason };
        continue;
      }
      const shift = start - at;
      let done = start;
      for (let i = firstEndingAfter(below, at); i < below.length; i += 1) {
        const range = below[i];
        if (range === undefined || range.start + shift >= end) break;
        const from = Math.max(done, range.start + shift);
        const to = Math.min(end, range.end + shift);
        if (from > done) yield { start: done, end: from, presence: "absent", reason: this.#lack };
        yield { ...range, start: from, end: to };
        done = to;
      }
      if (done < end) yield { start: done, end, presence: "absent", reason: this.#lack };
    }
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    return readSegments(this.#find, gpa, into, this.#readMapping);
  }

  contiguous(gpa: number, most: number): SourcePiece | undefined {
    const mapping = this.#find(gpa);
    if (mapping?.at === undefined) return undefined;
    const { start, end, at } = mapping;
    return this.#below.contiguous?.(at + gpa - start, Math.min(most, end - gpa));
  }

  sends(gpa: number): number {
    const mapping = this.#find(gpa);
    return mapping?.at === undefined ? 0 : Math.min(255, 1 + this.#again(mapping.at + gpa - mapping.start));
  }

  readonly #find = (gpa: number): Mapping | undefined => findSegment(this.#mappings, gpa);

  readonly #readMapping = ({ at }: Mapping, within: number, into: Uint8Array): MaybePromise<number> =>
    at === undefined ? 0 : this.#below.read(at + within, into);

  async *pieces(start = 0, end = Number.POSITIVE_INFINITY): AsyncIterable<MemoryPiece> {
    for (const mapping of this.#mappings) {
      const from = Math.max(start, mapping.start);
      const to = Math.min(end, mapping.end);
      // so that what is no number gives nothing
      if (!(from < to) || mapping.at === undefined) continue;
      const shift = mapping.start - mapping.at;
      for await (const piece of this.#below.pieces(from - shift, to - shift))
        yield { ...piece, gpa: piece.gpa + shift };
    }
  }
}
