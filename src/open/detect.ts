import { HEAD_SIZE, type InputFormat } from "../guest/input-format.js";
import { type ByteSource, type ByteStream, isByteSource, readFully } from "../io/byte-source.js";
import { FormatError } from "../io/errors.js";
import { xenStream } from "../xen/stream-format.js";

/** An input with its format: `input` starts at the first octet, whatever detection had to read. */
export interface Detected<Input> {
  readonly format: InputFormat;
  readonly input: Input;
}

/**
 * Finds out what an input is by its first octets. A stream is read no further than HEAD_SIZE, and what was read
 * comes again from the stream in the answer.
 * @throws FormatError `open/empty`, `open/compressed` (with how to unpack it) or `open/unknown`
 */
export async function detectFormat<Input extends ByteSource | ByteStream>(
  input: Input,
  formats?: readonly InputFormat[],
): Promise<Detected<Input | ByteStream>> {
  const head = await readHead(input);
  // the first of all formats, known by a magic number: the others need not be loaded for it
  const quick = formats === undefined && xenStream.matches(head) ? xenStream : undefined;
  const candidates = formats ?? (quick === undefined ? (await import("./formats.js")).FORMATS : []);
  const format = quick ?? candidates.find((candidate) => candidate.matches(head));
  if (format === undefined) {
    const { describeUnreadable } = await import("./unreadable.js");
    const { code, message } = describeUnreadable(head, input.name);
    throw new FormatError(code, message, { source: input.name });
  }
  return { format, input: isByteSource(input) ? input : replayed(head, input) };
}

async function readHead(input: ByteSource | ByteStream): Promise<Uint8Array> {
  const head = new Uint8Array(HEAD_SIZE);
  if (isByteSource(input)) return head.subarray(0, await readFully(input, 0, head));
  let filled = 0;
  while (filled < head.length) {
    const read = input.read(head.subarray(filled));
    const n = read instanceof Promise ? await read : read;
    if (n === 0) break;
    filled += n;
  }
  return head.subarray(0, filled);
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
