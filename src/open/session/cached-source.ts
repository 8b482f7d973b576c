import { type ByteSource, type MaybePromise, readFully } from "../../io/byte-source.js";

interface CacheOptions {
  /** Bytes of a block. */
  readonly block: number;
  /** Blocks kept. */
  readonly blocks: number;
}

/**
 * A source whose small reads are answered from blocks that were read before: for sources where every read has its
 * price, such as a Blob or a server. A read of two blocks or more goes through.
 */
export function cachedSource(source: ByteSource, { block, blocks }: CacheOptions): ByteSource {
  /** In the order of use, the latest at the end. */
  const kept = new Map<number, Uint8Array>();
  const loading = new Map<number, Promise<Uint8Array>>();

  const use = (index: number): Uint8Array | undefined => {
    const bytes = kept.get(index);
    if (bytes !== undefined) {
      kept.delete(index);
      kept.set(index, bytes);
    }
    return bytes;
  };
  const load = (index: number): Promise<Uint8Array> => {
    const known = loading.get(index);
    if (known !== undefined) return known;
    const start = index * block;
    const bytes = new Uint8Array(Math.max(0, Math.min(block, source.size - start)));
    const promise = readFully(source, start, bytes)
      .then((n) => {
        const whole = bytes.subarray(0, n);
        kept.set(index, whole);
        const oldest = kept.keys().next();
        if (kept.size > blocks && oldest.done !== true) kept.delete(oldest.value);
        return whole;
      })
      .finally(() => loading.delete(index));
    loading.set(index, promise);
    return promise;
  };

  const readSlow = async (offset: number, into: Uint8Array): Promise<number> => {
    let done = 0;
    while (done < into.length) {
      const at = offset + done;
      const index = Math.floor(at / block);
      const bytes = use(index) ?? (await load(index));
      const part = bytes.subarray(at - index * block, at - index * block + into.length - done);
      if (part.length === 0) break;
      into.set(part, done);
      done += part.length;
    }
    return done;
  };

  return {
    name: source.name,
    size: source.size,
    read(offset, into): MaybePromise<number> {
      if (offset >= source.size) return 0;
      if (into.length >= 2 * block) return source.read(offset, into);
      const index = Math.floor(offset / block);
      const at = offset - index * block;
      const bytes = at + into.length <= block ? use(index) : undefined;
      if (bytes === undefined) return readSlow(offset, into);
      const part = bytes.subarray(at, at + into.length);
      into.set(part);
      return part.length;
    },
  };
}
