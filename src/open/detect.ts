import { type InputFormat } from "../guest/input-format.js";
import { HEAD_SIZE, type OpenOptions } from "../guest/options.js";
import { peekHead } from "../io/peek-head.js";
import { type ByteSource, type ByteStream, isByteSource } from "../io/byte-source.js";
import { detectCompression } from "../io/codecs/compressions.js";
import { FormatError } from "../findings/errors.js";
import { OPEN_RULES } from "./rules.js";
import { xenStream } from "../xen/stream/format.js";

/** An input with its format: `input` starts at the first byte, whatever detection had to read. */
export interface Detected<Input> {
  readonly format: InputFormat;
  readonly input: Input;
}

/**
 * Finds out what an input is by its first bytes. A stream is read no further than HEAD_SIZE, and what was read
 * comes again from the stream in the answer. With `partial` an input whose first bytes are damaged is of the format that
 * what follows them proves.
 * @throws FormatError `open/empty`, `open/compressed` (with how to unpack it) or `open/unknown`
 */
export async function detectFormat<Input extends ByteSource | ByteStream>(
  input: Input,
  formats?: readonly InputFormat[],
  { partial = false }: Pick<OpenOptions, "partial"> = {},
): Promise<Detected<Input>> {
  const { head, input: whole } = await peekHead(input, HEAD_SIZE);
  // a packed stream may hold what looks like the start of another
  const isPacked = detectCompression(head) !== undefined;
  const seen = (await findFormat(head, formats)) ?? (isPacked ? undefined : await findWithin(whole, formats));
  const format = formats === undefined && (await isWithoutMemory(seen, whole)) ? undefined : seen;
  if (format === undefined) {
    const { describeUnreadable } = await import("./unreadable.js");
    const { rule, message, remedy } = describeUnreadable(head, input.name);
    // damage may look like anything
    const isUnknown =
      (seen !== undefined || rule === OPEN_RULES.unknown) && isByteSource(whole) && formats === undefined;
    const damaged = isUnknown ? await (await import("./damaged.js")).findDamaged(whole) : undefined;
    if (damaged !== undefined && partial) return { format: damaged, input: whole };
    if (damaged !== undefined)
      throw new FormatError(
        OPEN_RULES.damagedHead,
        `looks like ${/^[AEIO]/.test(damaged.title) ? "an" : "a"} ${damaged.title} whose first bytes are damaged`,
        { source: input.name, offset: 0 },
        { option: "partial", effect: "reads what is left of it" },
      );
    if (seen !== undefined) return { format: seen, input: whole };
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
  // a save of libvirt whose own head is damaged is more than its stream
  const { libvirtQemuSave } = await import("../qemu/libvirt/format.js");
  if ((await libvirtQemuSave.matchesDamaged?.(input)) === true) return undefined;
  return (await import("../qemu/migration/format.js")).qemuMigration;
}

/** Whether what looks like the core of a process has no program headers of memory: it may be a damaged dump of a machine. */
async function isWithoutMemory(
  format: InputFormat | undefined,
  input: ByteSource | ByteStream,
): Promise<boolean> {
  if (format?.id !== "qemu-core" || !isByteSource(input)) return false;
  const [{ ElfFile }, { PT_LOAD }] = await Promise.all([
    import("../elf/file.js"),
    import("../elf/layout.js"),
  ]);
  try {
    return !(await ElfFile.open(input)).segments.type.includes(PT_LOAD);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return true;
  }
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
