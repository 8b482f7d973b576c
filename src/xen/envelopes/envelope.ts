import { type Diagnostics, ShiftedDiagnostics } from "../../findings/diagnostics.js";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import type { GuestImage } from "../../guest/image.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { HEAD_SIZE, type OpenOptions, type VerifyOptions } from "../../guest/options.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { peekHead } from "../../io/peek-head.js";
import type { XenFormat } from "../format.js";
import { xenLegacy } from "../legacy/format.js";
import { xenStream } from "../stream/format.js";
import type { XenStreamDetails } from "../stream/inspect.js";
import type { StreamItem } from "../stream/items.js";
import type { XenStream } from "../stream/read.js";
import type { VerifyStreamOptions } from "../stream/verify.js";
import { describeDomain, type LibvirtDomain } from "./domain.js";
import {
  type Entered,
  type EnterOptions,
  type Envelope,
  type EnvelopeRecord,
  enterLibvirtLibxl,
  enterXapi,
  hasEndMark,
  recordsAfter,
} from "./read.js";
import { ENVELOPE_RULES } from "./rules.js";

const INNER: readonly XenFormat[] = [xenStream, xenLegacy];

/** What an inspection has besides the details of the stream inside. */
export interface EnvelopeDetails {
  readonly envelope: Envelope;
  /** What libvirt's description of the domain says. */
  readonly libvirtDomain?: LibvirtDomain;
}

type Input = ByteSource | ByteStream;

/** Enters one kind of envelope. @throws FormatError */
type Enter = <I extends Input>(input: I, options?: EnterOptions) => Promise<Entered<I>>;

/** What an envelope's format does: it enters the envelope and lets the format of the stream inside do the work. */
class EnvelopeReader {
  readonly #enter: Enter;

  constructor(enter: Enter) {
    this.#enter = enter;
  }

  /** Reports what is wrong with the stream inside, at its place in the whole input, and with the envelope. */
  async verify(input: Input, diagnostics: Diagnostics, options: VerifyOptions): Promise<void> {
    const entered = await this.#enter(input, { ahead: true });
    const { envelope, reader } = entered;
    const { format, stream } = await inside(entered);
    const inner = new ShiftedDiagnostics(diagnostics, envelope.streamOffset);
    const isXapi = envelope.kind === "xapi" && format === xenStream;
    if (isByteSource(input) || !isXapi) {
      await atOffset(envelope.streamOffset, async () => format.reader.verify?.(stream, inner, options));
      if (isXapi && isByteSource(input)) reportNoEnd(diagnostics, envelope.records, input.size);
      return;
    }
    const length = envelope.records.at(-1)?.length ?? 0;
    const whole = await verifyPart(stream as ByteStream, inner, { ...options, exact: length === 0 });
    // a record of stated length goes on after the stream in it; where that broke off nothing can be found
    const end = length === 0 ? (whole ? reader.position : Infinity) : envelope.streamOffset + length;
    await reader.skip(Math.min(end, Number.MAX_SAFE_INTEGER) - reader.position);
    const rest = { name: input.name, read: (into: Uint8Array) => reader.readInto(into) };
    const records = await recordsAfter(rest, reader.position);
    await reader.skip(Number.MAX_SAFE_INTEGER - reader.position);
    reportNoEnd(diagnostics, records, reader.position);
  }

  /** Describes the stream inside, with the envelope among its details. */
  async inspect(input: Input, options: OpenOptions): Promise<GuestInspection> {
    const entered = await this.#enter(input);
    const { envelope } = entered;
    const { format, stream } = await inside(entered);
    const { streamOffset } = envelope;
    const inner = await atOffset(streamOffset, () => format.reader.inspect(stream, options));
    const identity = identityOf(envelope);
    return {
      ...inner,
      origin: `${envelope.title}: ${inner.origin}`,
      guest: {
        ...inner.guest,
        name: inner.guest?.name ?? identity.name,
        uuid: inner.guest?.uuid ?? identity.uuid,
      },
      damage: inner.damage.map((finding) => ({ ...finding, offset: finding.offset + streamOffset })),
      details: { ...movedDetails(inner, streamOffset), envelope, ...domainOf(envelope) },
    };
  }

  /** Opens the guest of the stream inside, named by the envelope where the stream doesn't name it. */
  async openGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
    const entered = await this.#enter(input);
    const { envelope } = entered;
    const { format, stream } = await inside(entered);
    const guest = await atOffset(envelope.streamOffset, () => format.reader.openGuest(stream, options));
    const { name, uuid } = identityOf(envelope);
    const facts = {
      ...guest.facts,
      origin: `${envelope.title}: ${guest.facts.origin}`,
      ...(guest.facts.name === undefined && name !== undefined ? { name } : {}),
      ...(guest.facts.uuid === undefined && uuid !== undefined ? { uuid } : {}),
    };
    return { ...guest, facts };
  }
}

/** Reads XAPI suspend images. */
export const xapi = new EnvelopeReader(enterXapi);

/** Reads save files of libvirt's libxl driver. */
export const libvirtLibxl = new EnvelopeReader(enterLibvirtLibxl);

/** Checks a stream of a pipe; answers whether it came to its end. */
async function verifyPart(
  stream: ByteStream,
  diagnostics: Diagnostics,
  options: VerifyStreamOptions,
): Promise<boolean> {
  let seen: XenStream | undefined;
  const onItem = (_: StreamItem, of: XenStream): void => {
    seen = of;
  };
  const { verifyXenStream } = await import("../stream/verify.js");
  await verifyXenStream(stream, diagnostics, { ...options, onItem });
  return seen?.complete ?? false;
}

function reportNoEnd(diagnostics: Diagnostics, records: readonly EnvelopeRecord[], size: number): void {
  if (!hasEndMark(records))
    diagnostics.report(ENVELOPE_RULES.xapiEnd, { offset: size }, "the image has no end mark");
}

/** Moves an error that is thrown about the stream inside to its place in the whole input. */
async function atOffset<T>(offset: number, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof FormatError) || error.place.offset === undefined) throw error;
    const place = { ...error.place, offset: error.place.offset + offset };
    if (error instanceof TruncatedError)
      throw new TruncatedError(error.rule, error.message, error.missing, place, error.remedy);
    throw new FormatError(error.rule, error.message, place, error.remedy);
  }
}

/** The format of the stream inside, with the stream at its first byte. @throws FormatError `envelope/no-stream` */
async function inside<I extends Input>({
  stream,
  envelope,
}: Pick<Entered<I>, "stream" | "envelope">): Promise<{ readonly format: XenFormat; readonly stream: I }> {
  const { head, input } = await peekHead(stream, HEAD_SIZE);
  const format = INNER.find((candidate) => candidate.matches(head));
  if (format !== undefined) return { format, stream: input };
  throw new FormatError(ENVELOPE_RULES.noStream, `${envelope.title}: no Xen stream starts where it should`, {
    source: stream.name,
    offset: envelope.streamOffset,
  });
}

/** Places in the details of the stream inside, as places in the whole input. */
function movedDetails({ kind, details }: GuestInspection, offset: number): object {
  if (kind !== "xen-stream") return details;
  const { emulators, layers, trailing, ...others } = details as XenStreamDetails;
  const moved = <T extends { readonly offset: number }>(place: T): T => ({
    ...place,
    offset: place.offset + offset,
  });
  return {
    ...others,
    emulators: emulators.map(moved),
    layers: layers.map(moved),
    ...(trailing === undefined ? {} : { trailing: moved(trailing) }),
  };
}

function domainOf({ kind, config }: Envelope): Pick<EnvelopeDetails, "libvirtDomain"> {
  return kind === "libvirt-libxl" && config !== undefined ? { libvirtDomain: describeDomain(config) } : {};
}

/** Name and UUID from libvirt's XML. */
function identityOf(envelope: Envelope): { name?: string | undefined; uuid?: string | undefined } {
  const { name, uuid } = domainOf(envelope).libvirtDomain ?? {};
  return { name, uuid };
}
