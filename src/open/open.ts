import { FormatError, UsageError } from "../findings/errors.js";
import { Report } from "../findings/report.js";
import type { GuestImage } from "../guest/image.js";
import type { InputFormat } from "../guest/input-format.js";
import { withChosenVmcoreInfo } from "../guest/kernel/chosen-vmcoreinfo.js";
import type { SystemSummary } from "../guest/kernel/system-summary.js";
import type { OpenOptions, VerifyOptions } from "../guest/options.js";
import { type ByteSource, type ByteStream, isByteSource, type Packed } from "../io/byte-source.js";
import { LostBytesError } from "../io/lost-bytes.js";
import { type Detected, detectFormat } from "./detect.js";
import { withEmulatorStates } from "./emulators.js";
import type { Inspection } from "./inspection.js";
import { inspectTorn, openTorn, reportTear, untilUnmeasured } from "./packed.js";

/** A verification together with what was verified. */
export interface Verification {
  readonly report: Report;
  /** `xen-stream` …; undefined when the input is of no known format. */
  readonly format: string | undefined;
  /** The format's name for people. */
  readonly title: string | undefined;
  /** What the input was unpacked from, and to how many bytes. */
  readonly packed?: (Packed & { readonly size: number }) | undefined;
}

/**
 * Checks an input against the specification of its format. What the file holds never throws: even an input of no
 * known format is a finding.
 * @throws SystemError when it can't be read, UsageError when its format has no verifier or can't be read from a pipe
 */
export async function verify(
  input: ByteSource | ByteStream,
  options: VerifyOptions & { readonly strict?: boolean } = {},
): Promise<Verification> {
  const report = new Report(input.name, { strict: options.strict ?? false });
  let format: InputFormat | undefined;
  reportTear(input, report);
  try {
    const detected = await formatOf(input, options);
    format = detected.format;
    await verifyAs(format, detected.input, report, options);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    // lost bytes are reported already
    if (!(error instanceof LostBytesError)) report.addError(error);
  }
  const packed =
    isByteSource(input) && input.packed !== undefined ? { ...input.packed, size: input.size } : undefined;
  return { report, format: format?.id, title: format?.title, packed };
}

/** Checks an input as of one format. @throws FormatError where nothing more can be read */
async function verifyAs(
  { title, reader }: InputFormat,
  input: ByteSource | ByteStream,
  report: Report,
  options: VerifyOptions,
): Promise<void> {
  if (reader.verify === undefined)
    throw new UsageError(`${title}: there is no verifier of this format`, { source: input.name });
  if (reader.access === "random") return reader.verify(requireRandomAccess(input, title), report, options);
  return reader.verify(input, report, options);
}

/** Describes an input: its format and contents, and the system of a Linux guest in short. @throws GuestscopeError */
export async function inspect(
  input: ByteSource | ByteStream,
  options: OpenOptions = {},
): Promise<Inspection> {
  const { describeSystem = summarizeSystem } = options;
  return inspectTorn(input, () => inspectWith(input, { ...options, describeSystem }));
}

/** What a Linux guest was; its room is loaded when there is a guest to ask. */
async function summarizeSystem(guest: GuestImage): Promise<SystemSummary | undefined> {
  return (await import("../linux/summary.js")).summarizeLinux(guest);
}

async function inspectWith(input: ByteSource | ByteStream, options: OpenOptions): Promise<Inspection> {
  // damage is part of the answer
  const { format, input: whole } = await formatOf(input, { ...options, partial: true });
  let failure: FormatError | undefined;
  try {
    const inspection = await inspectAs(format, whole, options);
    if (inspection.memory !== undefined || inspection.damage.length === 0) return inspection;
    return (await inspectOther(format, whole, options)) ?? inspection;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    failure = error;
  }
  const other = await inspectOther(format, whole, options);
  if (other === undefined) throw failure;
  return other;
}

async function inspectAs(
  { reader, title }: InputFormat,
  input: ByteSource | ByteStream,
  options: OpenOptions,
): Promise<Inspection> {
  const inspection =
    reader.access === "random"
      ? await reader.inspect(requireRandomAccess(input, title), options)
      : await withEmulatorStates(await reader.inspect(input, options), input);
  // formats don't know the union of all that this level knows
  return inspection as Inspection;
}

/** Inspects an input whose damaged head looks like a format's as of the one that it is; undefined where nothing proves any. */
async function inspectOther(
  format: InputFormat,
  input: ByteSource | ByteStream,
  options: OpenOptions,
): Promise<Inspection | undefined> {
  if (!isByteSource(input) || options.qemu?.offset !== undefined) return undefined;
  const { findDamaged } = await import("./damaged.js");
  const other = await findDamaged(input, format);
  return other === undefined ? undefined : inspectAs(other, input, options);
}

/** Builds the model of the guest that an input holds. @throws GuestscopeError */
export async function openGuest(input: ByteSource, options: OpenOptions = {}): Promise<GuestImage> {
  return openTorn(input, options, async () => {
    const { format } = await formatOf(input, options);
    const open = async ({ reader }: InputFormat): Promise<GuestImage> =>
      withChosenVmcoreInfo(
        await reader.openGuest(reader.access === "random" ? untilUnmeasured(input) : input, options),
        options.vmcoreInfo,
      );
    try {
      return await open(format);
    } catch (error) {
      if (options.partial !== true || options.qemu?.offset !== undefined || !(error instanceof FormatError))
        throw error;
      // a damaged head may look like another format's
      const { findDamaged } = await import("./damaged.js");
      const other = await findDamaged(input, format);
      if (other === undefined) throw error;
      return open(other);
    }
  });
}

/** A migration stream where options say at which offset it begins, else by what the input begins with. */
async function formatOf<Input extends ByteSource | ByteStream>(
  input: Input,
  { qemu, partial = false }: Pick<OpenOptions, "qemu" | "partial">,
): Promise<Detected<Input>> {
  if (qemu?.offset === undefined) return detectFormat(input, undefined, { partial });
  requireRandomAccess(input, "a migration stream at an offset");
  return { format: (await import("../qemu/migration/format.js")).qemuMigration, input };
}

/** An input that is read at any offset. @throws UsageError for a pipe */
function requireRandomAccess(input: ByteSource | ByteStream, title: string): ByteSource {
  if (isByteSource(input)) return input;
  throw new UsageError(`${title}: must be a file that can be read at any offset`, { source: input.name });
}
