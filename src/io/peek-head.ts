import { type ByteSource, type ByteStream, isByteSource } from "./byte-source.js";
import { readBefore } from "./lost-bytes.js";

/** An input whose first bytes are known: a stream gives them once more before it goes on. */
export interface PeekedInput<Input> {
  /** The first bytes, fewer than were asked for when the input is shorter, or lacks some. */
  readonly head: Uint8Array;
  readonly input: Input;
}

/** Looks at the first `size` bytes of an input; of a stream no others are taken. */
export async function peekHead<Input extends ByteSource | ByteStream>(
  input: Input,
  size: number,
): Promise<PeekedInput<Input>> {
  const head = new Uint8Array(size);
  if (isByteSource(input)) return { head: head.subarray(0, await readBefore(input, 0, head)), input };
  let filled = 0;
  while (filled < head.length) {
    const read = input.read(head.subarray(filled));
    const n = read instanceof Promise ? await read : read;
    if (n === 0) break;
    filled += n;
  }
  const read = head.subarray(0, filled);
  return { head: read, input: replayed(read, input) as Input };
}

/** A stream that gives `head` once more before it goes on. */
function replayed(head: Uint8Array, rest: ByteStream): ByteStream {
  let at = 0;
  return {
    name: rest.name,
    read(into) {
      if (at === head.length) return rest.read(into);
      const part = head.subarray(at, at + into.length);
      into.set(part);
      at += part.length;
      return part.length;
    },
  };
}
