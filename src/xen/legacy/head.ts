import { askWitnesses, type HeadFact, headFact, type Testimony, type Witness } from "../../guest/head.js";
import { lostHeadParts } from "../../guest/head-parts.js";
import type { LostPart } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import type { HeaderChunk, PvInfoChunk, XlHeaderChunk } from "./chunks.js";
import { findFirstChunk, type LegacyCensus, takeCensus } from "./head-census.js";
import { findFields, type HeadFields, TSC_SIZE } from "./head-fields.js";
import { type GuestKind, P2M_SIZE_LIMIT, VCPU_CONTEXT } from "./layout.js";
import type { VcpuShape } from "./pv-tail.js";
import { XL_FLAGS, xlHeader } from "../xl/layout.js";
import { viewOf } from "../../binary/layout.js";

/*
 * What the chunks of a legacy stream are read by is at its head. Where that is damaged, the first chunks that prove
 * themselves say where reading begins, and each fact is asked of what else holds it.
 */

/** A legacy stream whose head is damaged: where its chunks begin, and what is known. */
export interface LegacyHead {
  /** Offset of the first chunk, or of the first that was found. */
  readonly first: number;
  readonly xlHeader: XlHeaderChunk | undefined;
  /** The header that chunks are read by: of an unknown number of pfns the largest there may be. */
  readonly header: HeaderChunk;
  /** Of a PV guest; by default for one of 64 bits. */
  readonly pv: PvInfoChunk | undefined;
  /** Whether the kind of guest, and the states of a PV guest's vCPUs, are known: else the tail can't be read. */
  readonly isTailKnown: boolean;
  /** Undefined each: it isn't known. */
  readonly guest: GuestKind | undefined;
  readonly guestWidth: 4 | 8 | undefined;
  readonly p2mSize: number | undefined;
  readonly lost: readonly LostPart[];
  readonly facts: readonly HeadFact[];
}

/** What a head that can be read says of its stream. */
export type StatedHead = Pick<HeaderChunk, "width" | "guest">;

/**
 * What is known of a stream whose head is damaged; undefined where no chunks are found, or the head is as it should be.
 * @param stated what it was read as: by what follows it, which may be damaged, too; undefined: it can't be read
 */
export async function findLegacyHead(
  input: ByteSource,
  stated: StatedHead | undefined,
): Promise<LegacyHead | undefined> {
  const found = await findFirstChunk(input);
  if (found === undefined) return undefined;
  const census = await takeCensus(input, found);
  const { at: first, ulongSize, proof } = found;
  const bytes = new Uint8Array(first);
  await readBefore(input, 0, bytes);
  const pv = census.tail?.guest === "pv" ? census.tail.pv : undefined;
  const kind = askWitnesses(kindWitnesses(census));
  const widths = widthWitnesses(census, pv);
  const guestWidth = askWitnesses(widths);
  const shown = { ulongSize, census, guest: kind?.value, guestWidth: guestWidth?.value, shape: pv };
  const fields = findFields(bytes, shown);
  // chunks that are damaged after a whole head are for the search between chunks
  const lost = lostHeadParts(fields.parts, proof, "the stream's head");
  const guest = kind?.value ?? fields.guest;
  const toolstack = ulongSize === 8 ? 64 : 32;
  const isWhole = fields.parts.slice(0, -1).every((part) => part.isWhole || part.end <= part.start);
  const gap = fields.parts.at(-1);
  // no more is lost than the TSC's state
  const isByHead = gap !== undefined && gap.end > gap.start && gap.end - gap.start <= TSC_SIZE;
  const isStated = stated?.width === toolstack && stated.guest === (guest ?? stated.guest);
  if (isWhole && isStated && !isByHead) return undefined;
  const shape = fields.shape ?? pv;
  const width = fields.shape?.guestWidth ?? guestWidth?.value;
  const p2mSize = fields.p2mSize ?? census.p2mSize;
  const limit = census.isWhole && census.highest >= 0 ? census.highest + 1 : P2M_SIZE_LIMIT;
  const header: HeaderChunk = {
    kind: "header",
    offset: 0,
    index: 0,
    width: toolstack,
    guest: guest ?? "pv",
    p2mSize: p2mSize ?? limit,
  };
  return {
    first,
    xlHeader: xlHeaderChunk(fields),
    header,
    pv: header.guest === "pv" ? pvInfoChunk(fields, shape, width) : undefined,
    isTailKnown: guest === "hvm" || (guest === "pv" && shape !== undefined),
    guest,
    guestWidth: guest === "pv" ? width : undefined,
    p2mSize,
    lost,
    facts: factsOf(fields, { census, kind, guestWidth, pv, ulongSize }),
  };
}

/** What shows the kind of guest, the surest first. */
function kindWitnesses({ isHvm, levels, tail }: LegacyCensus): Witness<GuestKind>[] {
  return [
    { from: "its tail", value: tail?.guest },
    { from: "its HVM parameters", value: isHvm ? "hvm" : undefined },
    { from: "pages that are page tables", value: levels === 0 ? undefined : "pv" },
  ];
}

/** What shows the size of a PV guest's words. */
function widthWitnesses({ levels, isWhole }: LegacyCensus, pv: VcpuShape | undefined): Witness<4 | 8>[] {
  const [third, fourth] = [(levels & (1 << 3)) !== 0, (levels & (1 << 4)) !== 0];
  return [
    { from: "the states of its vCPUs", value: pv?.guestWidth },
    { from: "the levels of its page tables", value: fourth ? 8 : third && isWhole ? 4 : undefined },
  ];
}

function xlHeaderChunk({ xl }: HeadFields): XlHeaderChunk | undefined {
  const bytes = xl?.header;
  if (bytes === undefined) return undefined;
  const flags = viewOf(bytes).getUint32(xlHeader.offsetOf("mandatoryFlags"), true);
  return { kind: "xl-header", offset: 0, index: 0, bytes, jsonConfig: (flags & XL_FLAGS.json) !== 0 };
}

function pvInfoChunk(
  { p2mFrames }: HeadFields,
  shape: VcpuShape | undefined,
  width: 4 | 8 | undefined,
): PvInfoChunk {
  const guestWidth = shape?.guestWidth ?? width ?? 8;
  return {
    kind: "pv-info",
    offset: 0,
    index: 0,
    guestWidth,
    levels: guestWidth === 8 ? 4 : 3,
    contextSize: VCPU_CONTEXT[guestWidth],
    extended: shape?.extended ?? true,
    xsaveSize: shape?.xsaveSize,
    unknownBlock: undefined,
    p2mFrames,
  };
}

/** What of a damaged head is known, and what isn't. */
function factsOf(
  fields: HeadFields,
  known: {
    readonly census: LegacyCensus;
    readonly kind: Testimony<GuestKind> | undefined;
    readonly guestWidth: Testimony<4 | 8> | undefined;
    readonly pv: VcpuShape | undefined;
    readonly ulongSize: 4 | 8;
  },
): HeadFact[] {
  const { census, pv, ulongSize } = known;
  const isP2mLost = fields.p2mSize === undefined;
  const kind = known.kind ?? (fields.guest && { value: fields.guest, from: "what is left of the head" });
  const isPv = kind?.value === "pv";
  const hasInfo = fields.shape !== undefined;
  const facts: HeadFact[] = [];
  if (isP2mLost)
    facts.push({
      fact: "width of the toolstack",
      value: `${ulongSize * 8} bits`,
      from: "the entries of its batches",
    });
  if (isP2mLost || (isPv && !fields.isSigned) || kind === undefined)
    facts.push(headFact("guest type", kind, (guest) => guest.toUpperCase()));
  if (isP2mLost) facts.push(p2mFact(census));
  if (isPv && !hasInfo) {
    const width =
      pv === undefined ? known.guestWidth : { value: pv.guestWidth, from: "the states of its vCPUs" };
    facts.push(headFact("size of the guest's words", width, (bytes) => `${bytes} bytes`));
    const shape = pv && { value: pv, from: "the length of its tail" };
    facts.push(headFact("layout of its vCPUs' states", shape, shapeText));
  }
  if (isPv && fields.p2mFrames === undefined) facts.push(headFact("list of p2m frames", undefined));
  if (fields.xl !== undefined && fields.xl.config === undefined)
    facts.push(headFact("domain's configuration", undefined));
  if (fields.isAfterUnknown) facts.push(headFact("header before the stream", undefined));
  return facts;
}

/** How many pfns there are: all of a PV guest's are named. */
function p2mFact({ p2mSize, highest }: LegacyCensus): HeadFact {
  const fact = "number of pfns";
  if (p2mSize !== undefined)
    return { fact, value: String(p2mSize), from: "its pages and its list of unmapped pfns" };
  if (highest < 0) return { fact };
  return { fact, value: `${highest + 1} or more`, from: "the highest pfn of its pages" };
}

function shapeText({ extended, xsaveSize }: VcpuShape): string {
  const xsave = xsaveSize === undefined ? "no XSAVE area" : `an XSAVE area of ${xsaveSize} bytes`;
  return `${extended ? "an" : "no"} extended context, ${xsave}`;
}
