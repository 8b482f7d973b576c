import { PAGE_SIZE, type MemoryPiece, type MemoryRange, type PhysicalMemory } from "./memory.js";
import type { MaybePromise } from "../io/byte-source.js";

/** Pages kept: 8 MiB. */
const MOST_PAGES = 2048;
/** Reads longer than this many bytes go past the cache. */
const LONG_READ = 64 << 10;

/** Guest-physical memory whose pages are kept once read: small reads in one page cost no look into the input. */
export class CachedMemory implements PhysicalMemory {
  readonly #memory: PhysicalMemory;
  /** By page number; as many bytes as could be read from the page's start. */
  readonly #pages = new Map<number, Uint8Array>();

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  ranges(): Iterable<MemoryRange> {
    return this.#memory.ranges();
  }

  pieces(start?: number, end?: number): AsyncIterable<MemoryPiece> {
    return this.#memory.pieces(start, end);
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    if (into.length > LONG_READ) return this.#memory.read(gpa, into);
    return this.#readOn(gpa, into, 0);
  }

  #readOn(gpa: number, into: Uint8Array, start: number): MaybePromise<number> {
    let done = start;
    while (done < into.length) {
      const at = gpa + done;
      const number = Math.floor(at / PAGE_SIZE);
      const within = at - number * PAGE_SIZE;
      const page = this.#pages.get(number);
      if (page === undefined) {
        const loaded = this.#load(number);
        if (loaded instanceof Promise) return loaded.then(() => this.#readOn(gpa, into, done));
        continue;
      }
      const part = Math.min(PAGE_SIZE - within, into.length - done);
      const there = Math.max(0, Math.min(part, page.length - within));
      if (there === PAGE_SIZE || there > 64) into.set(page.subarray(within, within + there), done);
      else for (let i = 0; i < there; i += 1) into[done + i] = page[within + i] ?? 0;
      done += there;
      if (there < part) break;
    }
    return done;
  }

  #load(number: number): MaybePromise<undefined> {
    const page = this.#room() ?? new Uint8Array(PAGE_SIZE);
    const keep = (n: number): undefined => {
      this.#pages.set(number, n === PAGE_SIZE ? page : page.subarray(0, n));
    };
    const result = this.#memory.read(number * PAGE_SIZE, page);
    return result instanceof Promise ? result.then(keep) : keep(result);
  }

  /** The room of the page that was read first, which is given up for another; nobody else has it. */
  #room(): Uint8Array | undefined {
    if (this.#pages.size < MOST_PAGES) return undefined;
    const oldest = this.#pages.entries().next();
    if (oldest.done === true) return undefined;
    const [number, page] = oldest.value;
    this.#pages.delete(number);
    return page.length === PAGE_SIZE ? page : undefined;
  }
}
