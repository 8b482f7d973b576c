import type { ByteSource } from "../../../src/io/byte-source.js";

/** A source that answers at once. */
export interface SyncSource extends ByteSource {
  read(offset: number, into: Uint8Array): number;
}

export interface CacheOptions {
  /** Bytes that are kept as one. */
  readonly sector: number;
  /** Sectors read where reading jumps to: a record's head, and what follows it. */
  readonly jump: number;
  /** Sectors read at a time at most, when one after another is asked for. */
  readonly ahead: number;
  /** Sectors kept. */
  readonly keep: number;
}

/**
 * A source whose small reads are answered from what was read before: for sources where every read has its price, such
 * as a Blob. A read of `ahead` sectors or more goes through.
 */
export function cachedSource(source: SyncSource, { sector, jump, ahead, keep }: CacheOptions): SyncSource {
  /** In the order of use, the latest at the end. */
  const kept = new Map<number, Uint8Array>();
  /** The sector that comes next if reading goes on in order, and sectors to read then. */
  let next = -1;
  let run = jump;

  const use = (index: number): Uint8Array | undefined => {
    const bytes = kept.get(index);
    if (bytes !== undefined) {
      kept.delete(index);
      kept.set(index, bytes);
    }
    return bytes;
  };
  /** Reads from a sector on: what is wanted now, and more of it the longer reading goes on in order. */
  const load = (index: number, wanted: number): Uint8Array => {
    run = Math.max(wanted, index === next ? Math.min(ahead, run * 2) : jump);
    next = index + run;
    const start = index * sector;
    const bytes = new Uint8Array(Math.max(0, Math.min(run * sector, source.size - start)));
    const there = bytes.subarray(0, fill(source, start, bytes));
    for (let i = 0; i * sector < there.length; i += 1)
      kept.set(index + i, there.subarray(i * sector, (i + 1) * sector));
    while (kept.size > keep) {
      const oldest = kept.keys().next();
      if (oldest.done === true) break;
      kept.delete(oldest.value);
    }
    return there.subarray(0, sector);
  };
  return {
    name: source.name,
    size: source.size,
    read(offset, into) {
      if (offset >= source.size) return 0;
      if (into.length >= ahead * sector) return source.read(offset, into);
      let done = 0;
      while (done < into.length) {
        const index = Math.floor((offset + done) / sector);
        const bytes = use(index) ?? load(index, Math.ceil((into.length - done) / sector));
        const at = offset + done - index * sector;
        const part = bytes.subarray(at, at + into.length - done);
        into.set(part, done);
        if (part.length === 0) break;
        done += part.length;
      }
      return done;
    },
  };
}

/** Fills `into`; returns the bytes that there are. */
function fill(source: SyncSource, offset: number, into: Uint8Array): number {
  let done = 0;
  while (done < into.length) {
    const n = source.read(offset + done, into.subarray(done));
    if (n === 0) break;
    done += n;
  }
  return done;
}
