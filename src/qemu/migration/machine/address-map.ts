import type { AbsentReason } from "../../../guest/absent.js";
import type { Mapping } from "../ram/mapped-memory.js";

/** Guest-physical addresses being laid out: what is placed later hides what was there. */
export class AddressMap {
  #mappings: Mapping[] = [];

  /** Shows the memory below from `at` on at [start, end). */
  show(start: number, end: number, at: number): void {
    this.#cover(start, end, { start, end, at });
  }

  /** There is memory, but which of several blocks it shows is unknown. */
  unknown(start: number, end: number, reason: AbsentReason): void {
    this.#cover(start, end, { start, end, at: undefined, reason });
  }

  /** No memory is there: a device's window. */
  clear(start: number, end: number): void {
    this.#cover(start, end, undefined);
  }

  /** Whether anything is in [start, end). */
  isTaken(start: number, end: number): boolean {
    return this.#mappings.some((mapping) => mapping.start < end && start < mapping.end);
  }

  /** Sorted, disjoint, joined where one continues the other. */
  get mappings(): readonly Mapping[] {
    const joined: Mapping[] = [];
    for (const mapping of [...this.#mappings].sort((a, b) => a.start - b.start)) {
      const last = joined.at(-1);
      const continues =
        last?.end === mapping.start &&
        last.reason === mapping.reason &&
        (last.at === undefined ? undefined : last.at + (last.end - last.start)) === mapping.at;
      if (continues) joined[joined.length - 1] = { ...last, end: mapping.end };
      else joined.push(mapping);
    }
    return joined;
  }

  #cover(start: number, end: number, mapping: Mapping | undefined): void {
    const kept = this.#mappings.flatMap((old): Mapping[] => {
      if (old.end <= start || old.start >= end) return [old];
      const parts: Mapping[] = [];
      if (old.start < start) parts.push({ ...old, end: start });
      if (old.end > end)
        parts.push({ ...old, start: end, at: old.at === undefined ? undefined : old.at + (end - old.start) });
      return parts;
    });
    this.#mappings = mapping === undefined || start >= end ? kept : [...kept, mapping];
  }
}
