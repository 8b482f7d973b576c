import type { MemoryPiece, MemoryRange, PhysicalMemory } from "../../../guest/memory.js";
import type { MaybePromise } from "../../../io/byte-source.js";

/** A run of guest-physical addresses that shows a run of another memory, or nothing that is known. */
export interface Mapping {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Where `start` lies in the memory below; undefined: the contents can't be told, for `reason`. */
  readonly at: number | undefined;
  readonly reason?: string;
}

/** Physical memory as a machine sees it: pieces of RAM blocks at their addresses. */
export class MappedMemory implements PhysicalMemory {
  readonly #below: PhysicalMemory;
  readonly #mappings: readonly Mapping[];
  readonly #lack: string;

  /**
   * @param mappings sorted, disjoint.
   * @param lack why the memory below holds nothing where nothing was said of it.
   */
  constructor(below: PhysicalMemory, mappings: readonly Mapping[], lack: string) {
    this.#below = below;
    this.#mappings = mappings;
    this.#lack = lack;
  }

  *ranges(): Iterable<MemoryRange> {
    let open: { start: number; end: number; presence: MemoryRange["presence"]; reason?: string } | undefined;
    for (const range of this.#parts()) {
      if (open?.end === range.start && open.presence === range.presence && open.reason === range.reason) {
        open.end = range.end;
        continue;
      }
      if (open !== undefined) yield open;
      open = { ...range };
    }
    if (open !== undefined) yield open;
  }

  *#parts(): Iterable<MemoryRange> {
    const below = [...this.#below.ranges()];
    for (const { start, end, at, reason } of this.#mappings) {
      if (at === undefined) {
        yield { start, end, presence: "absent", ...(reason === undefined ? {} : { reason }) };
        continue;
      }
      const shift = start - at;
      let done = start;
      for (let i = firstBehind(below, at); i < below.length; i += 1) {
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

  #mappingAt(gpa: number): Mapping | undefined {
    let low = 0;
    let high = this.#mappings.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#mappings[middle]?.end ?? 0) <= gpa) low = middle + 1;
      else high = middle;
    }
    const found = this.#mappings[low];
    return found !== undefined && found.start <= gpa ? found : undefined;
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    const mapping = this.#mappingAt(gpa);
    if (mapping?.at === undefined) return 0;
    const at = mapping.at + (gpa - mapping.start);
    if (gpa + into.length <= mapping.end) return this.#below.read(at, into);
    return this.#readAcross(gpa, into);
  }

  async #readAcross(gpa: number, into: Uint8Array): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const mapping = this.#mappingAt(gpa + done);
      if (mapping?.at === undefined) break;
      const part = into.subarray(done, done + Math.min(into.length - done, mapping.end - gpa - done));
      const n = await this.#below.read(mapping.at + (gpa + done - mapping.start), part);
      done += n;
      if (n < part.length) break;
    }
    return done;
  }

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

/** Index of the first range that ends behind `at`. */
function firstBehind(ranges: readonly MemoryRange[], at: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ranges[middle]?.end ?? 0) <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}
