import { Report } from "../findings/report.js";
import type { GuestImage } from "../guest/image.js";
import type { Inspection, OpenOptions, VerifyOptions } from "../guest/input-format.js";
import type { ByteSource, ByteStream } from "../io/byte-source.js";
import { FormatError, UsageError } from "../io/errors.js";
import { detectFormat } from "./detect.js";
import { withEmulatorStates } from "./emulators.js";

/** A verification together with what was verified. */
export interface Verification {
  readonly report: Report;
  /** `xen-stream` …; undefined when the input is of no known format. */
  readonly format: string | undefined;
  /** The format's name for people. */
  readonly title: string | undefined;
}

/**
 * Checks an input against the specification of its format. What the file holds never throws: even an input of no
 * known format is a finding. @throws SystemError when it can't be read, UsageError when its format has no verifier
 */
export async function verify(
  input: ByteSource | ByteStream,
  options: VerifyOptions & { readonly strict?: boolean } = {},
): Promise<Verification> {
  const report = new Report(input.name, { strict: options.strict ?? false });
  let format: string | undefined;
  let title: string | undefined;
  try {
    const detected = await detectFormat(input);
    ({ id: format, title } = detected.format);
    if (detected.format.verify === undefined) {
      throw new UsageError(`${detected.format.title}: there is no verifier of this format`, {
        source: input.name,
      });
    }
    await detected.format.verify(detected.input, report, options);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const { offset = 0, spec = "" } = error.place;
    report.add({ code: error.code, severity: "error", spec, explanation: "" }, { offset }, error.message);
  }
  return { report, format, title };
}

/** Tells what an input is and holds, as a document. @throws GuestscopeError */
export async function inspect(
  input: ByteSource | ByteStream,
  options: OpenOptions = {},
): Promise<Inspection> {
  const detected = await detectFormat(input);
  if (detected.format.inspect === undefined) {
    throw new UsageError(`${detected.format.title}: there is nothing to inspect`, { source: input.name });
  }
  return withEmulatorStates(await detected.format.inspect(detected.input, options), detected.input);
}

/** Builds the model of the guest an input holds. @throws GuestscopeError */
export async function openGuest(input: ByteSource, options: OpenOptions = {}): Promise<GuestImage> {
  const { format } = await detectFormat(input);
  if (format.openGuest === undefined) {
    throw new UsageError(`${format.title}: no guest can be opened from it`, { source: input.name });
  }
  return format.openGuest(input, options);
}
