import type { ByteSource, MaybePromise } from "../../io/byte-source.js";

interface CacheOptions {
  /** Bytes of a block. */
  readonly block: number;
  /** Blocks kept. */
  readonly blocks: number;
  /** Blocks read at a time at most, when one after another is asked for. */
  readonly ahead: number;
}

/**
 * A source whose small reads are answered from blocks that were read before: for sources where every read has its
 * price, such as a Blob or a server. A read of two blocks or more goes through. Where the source answers at once, so
 * does this one.
 */
export function cachedSource(source: ByteSource, { block, blocks, ahead }: CacheOptions): ByteSource {
  /** In the order of use, the latest at the end. */
  const kept = new Map<number, Uint8Array>();
  const loading = new Map<number, Promise<Uint8Array>>();
  /** The block that comes next if reading goes on in order, and blocks to read then. */
  let nextInOrder = -1;
  let run = 1;

  const use = (index: number): Uint8Array | undefined => {
    const bytes = kept.get(index);
    if (bytes !== undefined) {
      kept.delete(index);
      kept.set(index, bytes);
    }
    return bytes;
  };
  const keep = (first: number, bytes: Uint8Array): Uint8Array => {
    for (let i = 0; i * block < bytes.length; i += 1)
      kept.set(first + i, bytes.subarray(i * block, (i + 1) * block));
    while (kept.size > blocks) {
      const oldest = kept.keys().next();
      if (oldest.done === true) break;
      kept.delete(oldest.value);
    }
    return bytes.subarray(0, block);
  };
  const load = (index: number): MaybePromise<Uint8Array> => {
    const known = loading.get(index);
    if (known !== undefined) return known;
    run = index === nextInOrder ? Math.min(ahead, run * 2) : 1;
    nextInOrder = index + run;
    const start = index * block;
    const bytes = new Uint8Array(Math.max(0, Math.min(run * block, source.size - start)));
    const read = fill(source, start, bytes, 0);
    if (!(read instanceof Promise)) return keep(index, bytes.subarray(0, read));
    const promise = read.then((n) => keep(index, bytes.subarray(0, n))).finally(() => loading.delete(index));
    loading.set(index, promise);
    return promise;
  };

  const readOn = (offset: number, into: Uint8Array, from: number): MaybePromise<number> => {
    let done = from;
    while (done < into.length) {
      const at = offset + done;
      const index = Math.floor(at / block);
      const bytes = use(index) ?? load(index);
      if (bytes instanceof Promise) {
        const before = done;
        return bytes.then((loaded) => {
          const n = copy(loaded, at - index * block, into, before);
          return n === 0 ? before : readOn(offset, into, before + n);
        });
      }
      const n = copy(bytes, at - index * block, into, done);
      if (n === 0) break;
      done += n;
    }
    return done;
  };

  return {
    name: source.name,
    size: source.size,
    read(offset, into) {
      if (offset >= source.size) return 0;
      return into.length >= 2 * block ? source.read(offset, into) : readOn(offset, into, 0);
    },
  };
}

function copy(bytes: Uint8Array, at: number, into: Uint8Array, done: number): number {
  const part = bytes.subarray(at, at + into.length - done);
  into.set(part, done);
  return part.length;
}

/** Fills `into` from byte `done` of it on; returns the bytes that there are. */
function fill(source: ByteSource, offset: number, into: Uint8Array, done: number): MaybePromise<number> {
  let at = done;
  while (at < into.length) {
    const read = source.read(offset + at, into.subarray(at));
    if (read instanceof Promise) {
      const before = at;
      return read.then((n) => (n === 0 ? before : fill(source, offset, into, before + n)));
    }
    if (read === 0) break;
    at += read;
  }
  return at;
}
