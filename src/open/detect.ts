import { type InputFormat } from "../guest/input-format.js";
import { HEAD_SIZE } from "../guest/options.js";
import { peekHead } from "../io/peek-head.js";
import { type ByteSource, type ByteStream, isByteSource } from "../io/byte-source.js";
import { FormatError } from "../findings/errors.js";
import { xenStream } from "../xen/stream/format.js";

/** An input with its format: `input` starts at the first byte, whatever detection had to read. */
export interface Detected<Input> {
  readonly format: InputFormat;
  readonly input: Input;
}

/**
 * Finds out what an input is by its first bytes. A stream is read no further than HEAD_SIZE, and what was read
 * comes again from the stream in the answer.
 * @throws FormatError `open/empty`, `open/compressed` (with how to unpack it) or `open/unknown`
 */
export async function detectFormat<Input extends ByteSource | ByteStream>(
  input: Input,
  formats?: readonly InputFormat[],
): Promise<Detected<Input>> {
  const { head, input: whole } = await peekHead(input, HEAD_SIZE);
  const format = (await findFormat(head, formats)) ?? (await findWithin(whole, formats));
  if (format === undefined) {
    const { describeUnreadable } = await import("./unreadable.js");
    const { rule, message, remedy } = describeUnreadable(head, input.name);
    throw new FormatError(rule, message, { source: input.name }, remedy);
  }
  return { format, input: whole };
}

/** QEMU's streams may have another program's header in front of them. */
async function findWithin(
  input: ByteSource | ByteStream,
  formats: readonly InputFormat[] | undefined,
): Promise<InputFormat | undefined> {
  if (formats !== undefined || !isByteSource(input)) return undefined;
  const { findStreamStart } = await import("../qemu/migration/find-start.js");
  if ((await findStreamStart(input)) === undefined) return undefined;
  return (await import("../qemu/migration/format.js")).qemuMigration;
}

/** The format of an input that begins with `head`, HEAD_SIZE bytes if it has them. */
export async function findFormat(
  head: Uint8Array,
  formats?: readonly InputFormat[],
): Promise<InputFormat | undefined> {
  // the first of all formats, known by a magic number: the others need not be loaded for it
  if (formats === undefined && xenStream.matches(head)) return xenStream;
  const candidates = formats ?? (await import("./formats.js")).FORMATS;
  return candidates.find((candidate) => candidate.matches(head));
}
