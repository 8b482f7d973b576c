import type { ByteReader } from "../byte-reader.js";
import type { ByteStream, MaybePromise } from "../byte-source.js";

/** Unpacks what a reader holds into pieces, each valid until the next is asked for. */
export type Unpacker = (reader: ByteReader) => AsyncIterable<Uint8Array>;

/** `reader.need(count)`, awaited. */
export async function hasBytes(reader: ByteReader, count: number): Promise<boolean> {
  return reader.need(count);
}

/** All that is left of an input, as copies of at most `size` bytes. */
export async function* remaining(reader: ByteReader, size: number): AsyncIterable<Uint8Array> {
  while (await reader.need(1)) yield reader.take(size).slice();
}

/** A stream over pieces made one at a time; a piece holds until the next is asked for. */
export function streamOfPieces(name: string, pieces: AsyncIterable<Uint8Array>): ByteStream {
  const iterator = pieces[Symbol.asyncIterator]();
  let piece: Uint8Array = new Uint8Array(0);
  let at = 0;
  let ended = false;

  const take = (into: Uint8Array): number => {
    const part = piece.subarray(at, at + into.length);
    into.set(part);
    at += part.length;
    return part.length;
  };
  const refill = async (into: Uint8Array): Promise<number> => {
    while (at >= piece.length && !ended) {
      const next = await iterator.next();
      ended = next.done === true;
      piece = next.done === true ? new Uint8Array(0) : next.value;
      at = 0;
    }
    return take(into);
  };
  return {
    name,
    read: (into): MaybePromise<number> =>
      at < piece.length || into.length === 0 ? take(into) : refill(into),
  };
}

/** One array of two. */
export function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
