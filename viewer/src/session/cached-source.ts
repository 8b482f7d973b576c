import type { ByteSource } from "../../../src/io/byte-source.js";

/** A source that answers at once. */
export interface SyncSource extends ByteSource {
  read(offset: number, into: Uint8Array): number;
  /** The `size` bytes at each of some places, all of them there, one after another. */
  readTogether?(offsets: readonly number[], size: number): Uint8Array;
}

export interface CacheOptions {
  /** Bytes that are kept as one. */
  readonly sector: number;
  /** Sectors read where reading jumps to: a record's head, and what follows it. */
  readonly jump: number;
  /** Sectors read at a time at most, when one after another is asked for. */
  readonly ahead: number;
  /** Places read together at most, when reading goes by leaps of one length, as over records. */
  readonly together: number;
  /** Sectors kept. */
  readonly keep: number;
}

/**
 * A source whose small reads are answered from what was read before: for sources where every read has its price, such
 * as a Blob. A read of `ahead` sectors or more goes through.
 */
export function cachedSource(
  source: SyncSource,
  { sector, jump, ahead, together, keep }: CacheOptions,
): SyncSource {
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
  const forget = (): void => {
    while (kept.size > keep) {
      const oldest = kept.keys().next();
      if (oldest.done === true) return;
      kept.delete(oldest.value);
    }
  };
  const put = (index: number, bytes: Uint8Array): void => {
    for (let i = 0; i * sector < bytes.length; i += 1)
      kept.set(index + i, bytes.subarray(i * sector, (i + 1) * sector));
  };
  /** Where reading last leapt to, and how far. */
  let leapt = 0;
  let leap = 0;
  /** Reads where the next leaps will end, if this one was as long as the one before. */
  const lookAhead = (offset: number): void => {
    const length = offset - leapt;
    const isSame = length === leap && length > jump * sector;
    leapt = offset;
    leap = length;
    if (!isSame || source.readTogether === undefined) return;
    const size = jump * sector;
    const places: number[] = [];
    for (let i = 1; i <= together; i += 1) {
      const start = Math.floor((offset + i * length) / sector) * sector;
      if (start + size > source.size) break;
      places.push(start);
    }
    if (places.length === 0) return;
    const bytes = source.readTogether(places, size);
    for (const [i, start] of places.entries()) put(start / sector, bytes.subarray(i * size, (i + 1) * size));
    // as if the last of them had been read
    leapt = offset + places.length * length;
  };

  /** Reads from a sector on: what is wanted now, and more of it the longer reading goes on in order. */
  const load = (offset: number, wanted: number): Uint8Array => {
    const index = Math.floor(offset / sector);
    const isLeap = index !== next;
    run = Math.max(wanted, index === next ? Math.min(ahead, run * 2) : jump);
    next = index + run;
    const start = index * sector;
    const bytes = new Uint8Array(Math.max(0, Math.min(run * sector, source.size - start)));
    const there = bytes.subarray(0, fill(source, start, bytes));
    put(index, there);
    if (isLeap) lookAhead(offset);
    forget();
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
        const bytes = use(index) ?? load(offset + done, Math.ceil((into.length - done) / sector));
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
