import { Report } from "../../findings/report.js";
import type { GuestImage } from "../../guest/image.js";
import { HEAD_SIZE, type InputFormat, type Inspection } from "../../guest/input-format.js";
import { peekHead } from "../../io/peek-head.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { FormatError, TruncatedError } from "../../io/errors.js";
import type { FindingPlace } from "../../findings/report.js";
import type { Rule } from "../../findings/finding.js";
import { xenLegacy } from "../legacy/format.js";
import { xenStream } from "../stream/format.js";
import { STREAM_RULES } from "../stream/rules.js";
import {
  type Entered,
  type Envelope,
  enterLibvirtLibxl,
  enterXapi,
  hasEndMark,
  isLibvirtLibxl,
  isXapi,
} from "./read.js";
import { ENVELOPE_RULES } from "./rules.js";

const INNER: readonly InputFormat[] = [xenStream, xenLegacy];

/** Passes findings of the stream inside on, at their places in the whole input. */
class ShiftedReport extends Report {
  readonly #target: Report;
  readonly #by: number;
  readonly #passOver: string | undefined;

  constructor(target: Report, by: number, passOver?: string) {
    super(target.source);
    this.#target = target;
    this.#by = by;
    this.#passOver = passOver;
  }

  override add(rule: Rule, place: FindingPlace, message: string): void {
    super.add(rule, place, message);
    if (rule.code === this.#passOver) return;
    this.#target.add(rule, { ...place, offset: place.offset + this.#by }, message);
  }
}

/** Moves an error of the stream inside to its place in the whole input. */
async function shifted<T>(by: number, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof FormatError) || error.place.offset === undefined) throw error;
    const place = { ...error.place, offset: error.place.offset + by };
    if (error instanceof TruncatedError)
      throw new TruncatedError(error.code, error.message, error.missing, place);
    throw new FormatError(error.code, error.message, place);
  }
}

/** The format of the stream inside, which is given back as if nobody had looked at it. */
async function inside<Input extends ByteSource | ByteStream>({
  stream,
  envelope,
}: Entered<Input>): Promise<{ readonly format: InputFormat; readonly stream: Input }> {
  const { head, input } = await peekHead(stream, HEAD_SIZE);
  const format = INNER.find((candidate) => candidate.matches(head));
  if (format !== undefined) return { format, stream: input };
  throw new FormatError(
    ENVELOPE_RULES.noStream.code,
    `${envelope.title}: no Xen stream starts where it should`,
    { source: stream.name, offset: envelope.streamOffset, spec: ENVELOPE_RULES.noStream.spec },
  );
}

/** What both envelopes do: enter, and let the format of the stream inside do the work. */
function envelopeFormat(
  id: string,
  title: string,
  matches: InputFormat["matches"],
  enter: <Input extends ByteSource | ByteStream>(input: Input) => Promise<Entered<Input>>,
): InputFormat {
  return {
    id,
    title,
    matches,
    async verify(input, report, options) {
      const entered = await enter(input);
      const { envelope } = entered;
      const { format, stream } = await inside(entered);
      // of a pipe the records behind the stream come with it
      const trailing = isByteSource(stream) ? undefined : STREAM_RULES.trailing.code;
      await format.verify?.(stream, new ShiftedReport(report, envelope.streamOffset, trailing), options);
      if (envelope.kind === "xapi" && isByteSource(input) && format === xenStream && !hasEndMark(envelope))
        report.add(ENVELOPE_RULES.xapiEnd, { offset: input.size }, "the image has no end mark");
    },
    async inspect(input, options): Promise<Inspection> {
      const entered = await enter(input);
      const { envelope } = entered;
      const { format, stream } = await inside(entered);
      const inner = await shifted(envelope.streamOffset, async () => format.inspect?.(stream, options));
      const fallback = { schemaVersion: 1 as const, kind: format.id, source: input.name };
      return Object.assign({ ...(inner ?? fallback) }, { envelope });
    },
    async openGuest(input, options): Promise<GuestImage> {
      const entered = await enter(input);
      const { envelope } = entered;
      const { format, stream } = await inside(entered);
      const guest = await shifted(envelope.streamOffset, async () => format.openGuest?.(stream, options));
      if (guest === undefined)
        throw new FormatError("envelope/no-guest", `${format.title}: no guest can be opened from it`);
      const { name, uuid } = identityOf(envelope);
      const facts = {
        ...guest.facts,
        origin: `${envelope.title}: ${guest.facts.origin}`,
        ...(guest.facts.name === undefined && name !== undefined ? { name } : {}),
        ...(guest.facts.uuid === undefined && uuid !== undefined ? { uuid } : {}),
      };
      return { ...guest, facts };
    },
  };
}

/** Name and UUID from libvirt's XML. */
function identityOf(envelope: Envelope): { name?: string | undefined; uuid?: string | undefined } {
  if (envelope.kind !== "libvirt-libxl" || envelope.config === undefined) return {};
  const element = (tag: string): string | undefined =>
    new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(envelope.config ?? "")?.[1];
  return { name: element("name"), uuid: element("uuid") };
}

/** Images that XAPI (XenServer, XCP-ng) suspends domains into. */
export const xapiSave: InputFormat = envelopeFormat(
  "xen-xapi",
  "XAPI suspend image (Xen)",
  isXapi,
  enterXapi,
);

/** Files that libvirt's libxl driver saves domains into. */
export const libvirtLibxlSave: InputFormat = envelopeFormat(
  "xen-libvirt",
  "libvirt save file of a Xen domain",
  isLibvirtLibxl,
  enterLibvirtLibxl,
);
