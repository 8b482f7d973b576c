import { HEAD_SIZE, type InputFormat } from "../guest/input-format.js";
import { peekHead } from "../guest/input-head.js";
import type { ByteSource, ByteStream } from "../io/byte-source.js";
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
): Promise<Detected<Input>> {
  const { head, input: whole } = await peekHead(input, HEAD_SIZE);
  // the first of all formats, known by a magic number: the others need not be loaded for it
  const quick = formats === undefined && xenStream.matches(head) ? xenStream : undefined;
  const candidates = formats ?? (quick === undefined ? (await import("./formats.js")).FORMATS : []);
  const format = quick ?? candidates.find((candidate) => candidate.matches(head));
  if (format === undefined) {
    const { describeUnreadable } = await import("./unreadable.js");
    const { code, message } = describeUnreadable(head, input.name);
    throw new FormatError(code, message, { source: input.name });
  }
  return { format, input: whole };
}
