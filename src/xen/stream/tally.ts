import { PAGE_TYPE } from "../libxc/layout.js";
import type { PageEntries } from "../libxc/pages.js";

const CHUNK = 1 << 15;
/** Chunks kept: memory stays under 64 MiB, and guests up to 256 GiB are counted exactly. */
const MAX_CHUNKS = 2048;
/** Each pfn has a byte: times sent with data, saturating, above its last type + 1 (0: never named). */
const TYPE_BITS = 5;
const TYPE_MASK = (1 << TYPE_BITS) - 1;
const MOST_SENDS = 7;

/** Consecutive pfns, `end` exclusive. */
export interface PageRun {
  /** First pfn, and the one after the last. */
  readonly start: number;
  readonly end: number;
}

/** Every pfn's last type and how often its contents were sent, a byte a pfn. */
export class PageTally {
  /** Entries and pages of contents in all PAGE_DATA records. */
  entries = 0;
  sends = 0;
  /** False when the guest is too large to remember each pfn: only `entries` and `sends` hold then. */
  exact = true;
  readonly #chunks = new Map<number, Uint8Array>();
  #key = -1;
  #chunk: Uint8Array | undefined;

  /**
   * Counts a batch; entries whose contents the input doesn't have are left out.
   * @param whole contents that are there, in pages, from those of the batch's first entry on
   * @returns contents that the batch announces, in pages
   */
  add(batch: Pick<PageEntries, "pfns" | "types" | "length" | "hasData">, whole: number): number {
    const { pfns, types, length } = batch;
    let announced = 0;
    for (let i = 0; i < length; i += 1) {
      const pfn = pfns[i] ?? 0;
      const data = batch.hasData(i) ? 1 : 0;
      announced += data;
      if (data === 1 && announced > whole) continue;
      this.entries += 1;
      this.sends += data;
      const key = Math.floor(pfn / CHUNK);
      if (key !== this.#key) this.#select(key);
      const chunk = this.#chunk;
      if (chunk === undefined) continue;
      const at = pfn % CHUNK;
      const sent = Math.min(MOST_SENDS, ((chunk[at] ?? 0) >>> TYPE_BITS) + data);
      chunk[at] = (sent << TYPE_BITS) | ((types[i] ?? 0) + 1);
    }
    return announced;
  }

  #select(key: number): void {
    this.#key = key;
    this.#chunk = this.#chunks.get(key);
    if (this.#chunk !== undefined) return;
    if (this.#chunks.size >= MAX_CHUNKS) {
      this.exact = false;
      return;
    }
    this.#chunk = new Uint8Array(CHUNK);
    this.#chunks.set(key, this.#chunk);
  }

  /** pfns by last type, pages sent more than once and the most times one was sent (7: or more). */
  totals(): { types: number[]; resent: number; mostSends: number } {
    const types = Array.from({ length: 16 }, () => 0);
    let resent = 0;
    let mostSends = 0;
    for (const chunk of this.#chunks.values()) {
      for (const byte of chunk) {
        const type = (byte & TYPE_MASK) - 1;
        if (type < 0) continue;
        types[type] = (types[type] ?? 0) + 1;
        const sent = byte >>> TYPE_BITS;
        if (sent > 1) resent += 1;
        if (sent > mostSends) mostSends = sent;
      }
    }
    return { types, resent, mostSends };
  }

  /** Runs of pfns that were named, of one last type and sent as often (7: or more), ascending. */
  *entriesByRun(): Generator<PageRun & { readonly type: number; readonly sends: number }> {
    for (const [key, chunk] of [...this.#chunks].sort(([a], [b]) => a - b)) {
      const base = key * CHUNK;
      for (let start = 0; start < CHUNK; ) {
        const byte = chunk[start] ?? 0;
        let end = start + 1;
        while (end < CHUNK && chunk[end] === byte) end += 1;
        const type = (byte & TYPE_MASK) - 1;
        if (type >= 0) yield { start: base + start, end: base + end, type, sends: byte >>> TYPE_BITS };
        start = end;
      }
    }
  }

  /** Runs of pfns whose last entry has contents, ascending. */
  runs(): PageRun[] {
    const runs: PageRun[] = [];
    let start = -1;
    let expected = -1;
    const close = (end: number): void => {
      if (start >= 0) runs.push({ start, end });
      start = -1;
    };
    for (const [key, chunk] of [...this.#chunks].sort(([a], [b]) => a - b)) {
      const base = key * CHUNK;
      if (base !== expected) close(expected);
      for (const [i, byte] of chunk.entries()) {
        const type = (byte & TYPE_MASK) - 1;
        const present = type >= 0 && type < PAGE_TYPE.BROKEN;
        if (present && start < 0) start = base + i;
        else if (!present && start >= 0) close(base + i);
      }
      expected = base + CHUNK;
    }
    close(expected);
    return runs;
  }
}
