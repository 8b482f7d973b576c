import { FormatError, GuestscopeError } from "../findings/errors.js";
import { Report } from "../findings/report.js";
import type { Rule } from "../findings/rule.js";
import { withoutDamage } from "../guest/damage.js";
import type { GuestImage } from "../guest/image.js";
import type { GuestInspection } from "../guest/inspection.js";
import type { OpenOptions } from "../guest/options.js";
import { rescueWith } from "../guest/salvage.js";
import { type ByteSource, type ByteStream, isByteSource, sliceSource, type Tear } from "../io/byte-source.js";
import { CODEC_RULES } from "../io/rules.js";

/** What is wrong with an input's packed data, and where in what they unpack to. */
interface PackedProblem {
  readonly rule: Rule;
  readonly offset: number;
  readonly text: string;
}

/** All that is wrong with an input's packed data; what ends them is the last. */
function problemsOf(input: ByteSource | ByteStream): readonly PackedProblem[] {
  if (!isByteSource(input) || input.packed === undefined) return [];
  const { tear, lost = [], doubtful = [], compression } = input.packed;
  const rule = CODEC_RULES[compression as keyof typeof CODEC_RULES] ?? CODEC_RULES.gzip;
  return [
    ...lost.map((part) => ({ rule: part.rule, offset: part.start, text: part.message })),
    ...doubtful.map(({ start, end, message }) => ({
      rule,
      offset: start,
      text: `${message} (the ${end - start} bytes unpacked there may be wrong)`,
    })),
    ...(tear === undefined
      ? []
      : [{ rule: tear.rule, offset: input.size, text: tearText(tear, input.size) }]),
  ];
}

/** Why packed data end, and what came of them. */
function tearText(tear: Tear, size: number): string {
  const end = tear.isCut ? "which has" : "damaged near";
  const file = tear.isCut ? `${tear.packedOffset} bytes` : `byte ${tear.packedOffset}`;
  const doubt = tear.isCut ? "" : "; the last of them may be wrong";
  return `${tear.message} (the packed input, ${end} ${file}, unpacks to ${size} bytes${doubt})`;
}

/** Reports where an input's packed data end early or are damaged, at offsets of what they unpack to. */
export function reportTear(input: ByteSource | ByteStream, report: Report): void {
  for (const { rule, offset, text } of problemsOf(input)) report.report(rule, { offset }, text);
}

/**
 * What a reader that finds everything by its offset can use of an input: nothing after lost bytes whose number isn't
 * known.
 */
export function untilUnmeasured(input: ByteSource): ByteSource {
  const first = input.packed?.lost?.find(({ isMeasured }) => !isMeasured);
  return first === undefined ? input : { ...sliceSource(input, 0, first.start), packed: input.packed };
}

/** Problems that become warnings one by one. */
const MOST_WARNINGS = 20;

/**
 * Opens the guest of an input whose packed data may be damaged. With `partial` the guest is what came: memory that was
 * in lost bytes is absent, which all of it is read once for.
 * @throws FormatError for a damaged input, unless `partial`
 */
export async function openTorn(
  input: ByteSource,
  options: Pick<OpenOptions, "partial" | "progress">,
  open: () => Promise<GuestImage>,
): Promise<GuestImage> {
  const problems = problemsOf(input);
  const [first] = problems;
  if (first === undefined) return open();
  const place = { source: input.name, offset: first.offset };
  if (options.partial !== true)
    throw new FormatError(first.rule, first.text, place, {
      option: "partial",
      effect: "takes what came of it",
    });
  try {
    const guest = withPackedLoss(await open(), input);
    const more = problems.length - MOST_WARNINGS;
    const warnings = [
      ...problems.slice(0, MOST_WARNINGS).map(({ rule, text }) => `${text} [${rule.code}]`),
      ...(more > 0 ? [`${more} more parts of the packed input are damaged; verify lists them`] : []),
      ...guest.warnings,
    ];
    if ((input.packed?.lost ?? []).length === 0) return { ...guest, warnings };
    return await withoutDamage({ ...guest, warnings }, (done, total) =>
      options.progress?.(done, total, "looking for damage"),
    );
  } catch (error) {
    // too little came to be read at all: that is no fault of a format's
    if (!(error instanceof GuestscopeError) || !error.code.startsWith("open/")) throw error;
    throw new FormatError(first.rule, first.text, place);
  }
}

/** Puts what was lost and doubtful of the packed data into the guest's rescue. */
function withPackedLoss(guest: GuestImage, { packed }: ByteSource): GuestImage {
  const { lost = [], doubtful = [] } = packed ?? {};
  if (lost.length + doubtful.length === 0) return guest;
  const parts = lost.map(({ start, end, message }) => ({ start, end, proof: 0, what: message }));
  return {
    ...guest,
    rescue: rescueWith(guest.rescue, {
      lost: parts,
      doubtfulBytes: doubtful.map(({ start, end, message }) => ({ start, end, why: message })),
    }),
  };
}

/** Inspects an input whose packed data may be damaged: that they are, is damage. @throws FormatError where too little came to be read */
export async function inspectTorn<Inspection extends GuestInspection>(
  input: ByteSource | ByteStream,
  inspect: () => Promise<Inspection>,
): Promise<Inspection> {
  const [first] = problemsOf(input);
  if (first === undefined) return inspect();
  const report = new Report(input.name);
  reportTear(input, report);
  try {
    const inspection = await inspect();
    return { ...inspection, damage: [...report.findings, ...inspection.damage] };
  } catch (error) {
    if (!(error instanceof FormatError) || !error.code.startsWith("open/")) throw error;
    throw new FormatError(first.rule, first.text, { source: input.name, offset: first.offset });
  }
}
