import { FormatError, GuestscopeError } from "../findings/errors.js";
import { Report } from "../findings/report.js";
import type { GuestImage } from "../guest/image.js";
import type { GuestInspection } from "../guest/inspection.js";
import type { OpenOptions } from "../guest/options.js";
import { type ByteSource, type ByteStream, isByteSource, type Tear } from "../io/byte-source.js";

/** Why an input's packed data aren't whole, and what came of them; undefined where they are. */
function tornBy(input: ByteSource | ByteStream): { tear: Tear; size: number; text: string } | undefined {
  if (!isByteSource(input) || input.packed?.tear === undefined) return undefined;
  const { tear } = input.packed;
  const end = tear.isCut ? "which has" : "damaged near";
  const file = tear.isCut ? `${tear.packedOffset} bytes` : `byte ${tear.packedOffset}`;
  const doubt = tear.isCut ? "" : "; the last of them may be wrong";
  const text = `${tear.message} (the packed input, ${end} ${file}, unpacks to ${input.size} bytes${doubt})`;
  return { tear, size: input.size, text };
}

/** Reports that an input's packed data end early or are damaged, at the end of what they unpack to. */
export function reportTear(input: ByteSource | ByteStream, report: Report): void {
  const torn = tornBy(input);
  if (torn !== undefined) report.report(torn.tear.rule, { offset: torn.size }, torn.text);
}

/**
 * Opens the guest of an input that may be torn. With `partial` the guest is what came, with a warning.
 * @throws FormatError for a torn input, unless `partial`
 */
export async function openTorn(
  input: ByteSource,
  options: Pick<OpenOptions, "partial">,
  open: () => Promise<GuestImage>,
): Promise<GuestImage> {
  const torn = tornBy(input);
  if (torn === undefined) return open();
  const { tear, size, text } = torn;
  const place = { source: input.name, offset: size };
  if (options.partial !== true)
    throw new FormatError(tear.rule, text, place, { option: "partial", effect: "takes what came of it" });
  try {
    const guest = await open();
    return { ...guest, warnings: [`${text} [${tear.rule.code}]`, ...guest.warnings] };
  } catch (error) {
    // too little came to be read at all: that is no fault of a format's
    if (!(error instanceof GuestscopeError) || !error.code.startsWith("open/")) throw error;
    throw new FormatError(tear.rule, text, place);
  }
}

/** Inspects an input that may be torn: that it is, is damage. @throws FormatError where too little came to be read */
export async function inspectTorn<Inspection extends GuestInspection>(
  input: ByteSource | ByteStream,
  inspect: () => Promise<Inspection>,
): Promise<Inspection> {
  const torn = tornBy(input);
  if (torn === undefined) return inspect();
  const report = new Report(input.name);
  reportTear(input, report);
  try {
    const inspection = await inspect();
    return { ...inspection, damage: [...report.findings, ...inspection.damage] };
  } catch (error) {
    if (!(error instanceof FormatError) || !error.code.startsWith("open/")) throw error;
    throw new FormatError(torn.tear.rule, torn.text, { source: input.name, offset: torn.size });
  }
}
