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
    /** One read stays within one source: it may give fewer bytes than asked though more follow. */
    read(offset, into): MaybePromise<number> {
      const part = parts.findLast(({ start }) => start <= offset);
      return part === undefined ? 0 : part.source.read(offset - part.start, into);
    },
  };
  for (const source of sources) joined.startOf(source);
  return joined;
}
