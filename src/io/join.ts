import type { ByteSource, MaybePromise } from "./byte-source.js";

/** Several sources as one: their bytes follow each other in the order in which they were added. */
export interface JoinedSource extends ByteSource {
  /** Offset of a source's first byte here; adds a source that isn't among them yet. */
  startOf(source: ByteSource): number;
}

/**
 * Joins sources. More may be added later (`startOf`), as long as none of them grows.
 * @param name of the whole, for messages
 */
export function joinSources(name: string, sources: Iterable<ByteSource> = []): JoinedSource {
  const parts: { readonly source: ByteSource; readonly start: number }[] = [];
  const starts = new Map<ByteSource, number>();
  let size = 0;
  /** Goes on after `done` bytes, from source to source: synchronous as long as they are. */
  const readFrom = (offset: number, into: Uint8Array, done: number): MaybePromise<number> => {
    let at = done;
    while (at < into.length) {
      const part = parts.findLast(({ start }) => start <= offset + at);
      if (part === undefined) break;
      const within = offset + at - part.start;
      const length = Math.min(into.length - at, part.source.size - within);
      if (length <= 0) break;
      const result = part.source.read(within, length === into.length ? into : into.subarray(at, at + length));
      if (result instanceof Promise) {
        const from = at;
        return result.then((n) => (n < length ? from + n : readFrom(offset, into, from + n)));
      }
      at += result;
      if (result < length) break;
    }
    return at;
  };
  const joined: JoinedSource = {
    name,
    get size() {
      return size;
    },
    startOf(source) {
      const known = starts.get(source);
      if (known !== undefined) return known;
      const start = size;
      parts.push({ source, start });
      starts.set(source, start);
      size += source.size;
      return start;
    },
    read(offset, into) {
      return readFrom(offset, into, 0);
    },
  };
  for (const source of sources) joined.startOf(source);
  return joined;
}
