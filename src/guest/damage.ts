import { AbsentError, FormatError } from "../findings/errors.js";
import type { AbsentReason } from "./absent.js";
import type { GuestImage } from "./image.js";
import { type MemoryPiece, type MemoryRange, PAGE_SIZE, type PhysicalMemory } from "./memory.js";
import { firstEndingAfter } from "./segmented.js";

/** Pages read one by one after damage was met, before larger pieces are tried again. */
const STEPS = 1024;

/** Whether an error says that contents are damaged or not there, not that reading itself failed. */
export function isDamage(error: unknown): error is FormatError | AbsentError {
  return error instanceof FormatError || error instanceof AbsentError;
}

/**
 * The same guest with pages whose contents turn out to be damaged (they don't unpack, differ from nothing …) as absent
 * memory. Reads all of the guest's memory once; the guest itself is given back when all of it can be read.
 * @param progress receives how many bytes of how many have been looked at
 */
export async function withoutDamage(
  guest: GuestImage,
  progress?: (done: number, total: number) => void,
): Promise<GuestImage> {
  const damaged = await findDamage(guest, progress);
  if (damaged.length === 0) return guest;
  const bytes = damaged.reduce((sum, { start, end }) => sum + end - start, 0);
  return {
    ...guest,
    memory: new MaskedMemory(guest.memory, damaged),
    warnings: [...guest.warnings, `${bytes} bytes of memory are damaged in the input`],
    ...(guest.close === undefined ? {} : { close: async () => guest.close?.() }),
  };
}

/** Memory of which some ranges are absent. @param ranges absent ones, ascending, disjoint, within present memory */
export function withoutRanges(memory: PhysicalMemory, ranges: readonly MemoryRange[]): PhysicalMemory {
  return ranges.length === 0 ? memory : new MaskedMemory(memory, ranges);
}

async function findDamage(
  { memory, facts }: GuestImage,
  progress: ((done: number, total: number) => void) | undefined,
): Promise<MemoryRange[]> {
  const { pageSize = PAGE_SIZE } = facts;
  const readable = Array.from(memory.ranges()).filter(({ presence }) => presence !== "absent");
  const total = readable.reduce((sum, { start, end }) => sum + end - start, 0);
  const page = new Uint8Array(pageSize);
  const damaged: (MemoryRange & { end: number })[] = [];
  let before = 0;
  for (const { start, end } of readable) {
    for (let at = start; at < end; ) {
      try {
        for await (const piece of memory.pieces(at, end)) {
          at = piece.gpa + piece.length;
          progress?.(before + at - start, total);
        }
        break;
      } catch (error) {
        if (!isDamage(error)) throw error;
      }
      for (let step = 0; step < STEPS && at < end; step += 1) {
        const next = Math.min(end, at - (at % pageSize) + pageSize);
        const reason = await damageOf(memory, at, page.subarray(0, next - at));
        const last = damaged.at(-1);
        if (reason !== undefined && last?.end === at && last.reason?.text === reason.text) last.end = next;
        else if (reason !== undefined) damaged.push({ start: at, end: next, presence: "absent", reason });
        at = next;
      }
    }
    before += end - start;
  }
  return damaged;
}

const UNREADABLE: AbsentReason = { kind: "damaged", text: "damaged: it can't be read" };

/** Why a piece of memory can't be read. */
async function damageOf(
  memory: PhysicalMemory,
  gpa: number,
  into: Uint8Array,
): Promise<AbsentReason | undefined> {
  try {
    return (await memory.read(gpa, into)) === into.length ? undefined : UNREADABLE;
  } catch (error) {
    if (isDamage(error)) return { kind: "damaged", text: `damaged (${error.code})` };
    throw error;
  }
}

/** Memory some ranges of which are absent, whatever it says itself. */
class MaskedMemory implements PhysicalMemory {
  readonly #memory: PhysicalMemory;
  /** Ascending, disjoint, within present memory. */
  readonly #masks: readonly MemoryRange[];

  constructor(memory: PhysicalMemory, masks: readonly MemoryRange[]) {
    this.#memory = memory;
    this.#masks = masks;
  }

  *ranges(): Iterable<MemoryRange> {
    let next = 0;
    for (const range of this.#memory.ranges()) {
      let { start } = range;
      for (; next < this.#masks.length; next += 1) {
        const mask = this.#masks[next];
        if (mask === undefined || mask.start >= range.end) break;
        if (start < mask.start) yield { ...range, start, end: mask.start };
        yield mask;
        start = mask.end;
      }
      if (start < range.end) yield { ...range, start };
    }
  }

  async read(gpa: number, into: Uint8Array): Promise<number> {
    const mask = this.#masks[this.#from(gpa)];
    const most = mask === undefined ? into.length : Math.min(into.length, Math.max(0, mask.start - gpa));
    return most === 0 ? 0 : this.#memory.read(gpa, into.subarray(0, most));
  }

  async *pieces(start = 0, end = Number.MAX_SAFE_INTEGER): AsyncIterable<MemoryPiece> {
    let at = start;
    for (let next = this.#from(start); at < end; next += 1) {
      const mask = this.#masks[next];
      const stop = Math.min(end, mask?.start ?? end);
      if (at < stop) yield* this.#memory.pieces(at, stop);
      if (mask === undefined) return;
      at = Math.max(at, mask.end);
    }
  }

  /** Index of the first mask that ends after an address. */
  #from(gpa: number): number {
    return firstEndingAfter(this.#masks, gpa);
  }
}
