import { indexOfBytes } from "../../io/byte-search.js";
import { type ByteOrder, latin1Bytes, viewOf } from "../../binary/layout.js";
import { lostHeadParts, type HeadPart } from "../../guest/head-parts.js";
import type { LostPart, Resumption } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import {
  DOMAIN_TYPE,
  domainHeader,
  IMAGE_ID,
  IMAGE_MARKER,
  IMAGE_RESERVED_OPTIONS,
  IMAGE_VERSIONS,
  imageHeader,
  recordHeader,
} from "../libxc/layout.js";
import {
  LIBXL_IDENT,
  LIBXL_MAGIC,
  LIBXL_RECORD,
  LIBXL_RESERVED_OPTIONS,
  LIBXL_VERSION,
  libxlHeader,
  orderOf,
} from "../libxl/layout.js";
import { decodeConfig, isJson } from "../xl/config.js";
import { XL_BYTE_ORDER, XL_FLAGS, XL_KNOWN_FLAGS, XL_MAGIC, xlHeader, xlOptionalData } from "../xl/layout.js";
import type { Layer } from "./items.js";
import { RecordWalk } from "./record-walk.js";

/*
 * Headers of a stream come one right before the other, up to the first record: where that is follows from any one of
 * them that is whole, else from where records are found. From there each header's place is known.
 */

/** A stream whose headers are damaged: where its records begin, and what the headers still say. */
export interface DamagedHead {
  /** Offset of libxc's first record, or of the first that was found. */
  readonly first: number;
  readonly order: ByteOrder;
  readonly outer: Layer;
  /** Whether libxl is around libxc; undefined: not known. */
  readonly isWrapped: boolean | undefined;
  readonly type: "HVM" | "PV" | undefined;
  readonly version: number | undefined;
  readonly xen: string | undefined;
  readonly config: string | undefined;
  /** Whether the domain header is as it should be: type and version of Xen are known from it. */
  readonly hasDomain: boolean;
  readonly lost: readonly LostPart[];
}

/** How far the first record is looked for: a configuration, damage, and a batch that it hit. */
const FARTHEST = 8 << 20;
/** Bytes of libxc's headers, and of libxl's header with its first record's. */
const INNER = imageHeader.size + domainHeader.size;
const WRAP = libxlHeader.size + recordHeader.size;
const CONFIG_AT = xlHeader.size + xlOptionalData.size;
/** A few bytes of the magic that are damaged are no other magic. */
const MOST_MAGIC_DAMAGE = 16;

/** Finds the first records of an input that may be a stream whose headers are damaged; undefined where none prove themselves. */
export async function findRecords(
  input: ByteSource,
): Promise<(Resumption & { readonly order: ByteOrder }) | undefined> {
  for (const order of ["little", "big"] as const) {
    const found = await new RecordWalk(input, order).finder(1).resume(INNER, FARTHEST);
    if (found !== undefined) return { ...found, order };
  }
  return undefined;
}

/** What is known of a stream whose headers are damaged; undefined where no records are found. */
export async function findHead(input: ByteSource): Promise<DamagedHead | undefined> {
  const records = await findRecords(input);
  if (records === undefined) return undefined;
  const bytes = new Uint8Array(records.at);
  await readBefore(input, 0, bytes);
  const first = anchoredFirst(bytes, records.order) ?? records.at;
  return describeHead(bytes.subarray(0, first), records);
}

/** Where the first record is by a header that is whole: it is before the first that proves itself. */
function anchoredFirst(bytes: Uint8Array, order: ByteOrder): number | undefined {
  const view = viewOf(bytes);
  const fits = (at: number): number | undefined => (at >= INNER && at <= bytes.length ? at : undefined);
  const image = indexOfBytes(bytes, imageHeader.encode({ ...IMAGE, version: 0 }, "big").subarray(0, 12), 0);
  if (image >= 0) return fits(image + INNER);
  const libxl = indexOfBytes(bytes, latin1Bytes(LIBXL_MAGIC), 0);
  if (libxl >= 0) return fits(libxl + WRAP + INNER);
  if (bytes.length < CONFIG_AT || !isXlMagic(bytes)) return undefined;
  const { optionalDataLength } = xlHeader.read(view, 0, order);
  return fits(xlHeader.size + optionalDataLength + WRAP + INNER);
}

const IMAGE = { marker: IMAGE_MARKER, id: IMAGE_ID, options: 0, reserved1: 0, reserved2: 0 };

function isXlMagic(bytes: Uint8Array): boolean {
  return XL_MAGIC.filter((byte, i) => byte !== bytes[i]).length <= MOST_MAGIC_DAMAGE;
}

/** A header of the head where it ends, if there is room for it. */
function headerBefore<T>(
  bytes: Uint8Array,
  end: number,
  layout: { readonly size: number; read(view: DataView, at: number, order: ByteOrder): T },
  order: ByteOrder,
): T | undefined {
  const at = end - layout.size;
  return at < 0 ? undefined : layout.read(viewOf(bytes), at, order);
}

/** @param bytes of the input, up to its first record */
function describeHead(
  bytes: Uint8Array,
  { order, proof }: Resumption & { readonly order: ByteOrder },
): DamagedHead {
  const first = bytes.length;
  const imageEnd = first - domainHeader.size;
  const contextEnd = first - INNER;
  const libxlEnd = contextEnd - recordHeader.size;
  const xlEnd = libxlEnd - libxlHeader.size;
  const domain = headerBefore(bytes, first, domainHeader, order);
  const image = headerBefore(bytes, imageEnd, imageHeader, "big");
  const context = headerBefore(bytes, contextEnd, recordHeader, order);
  const libxl = headerBefore(bytes, libxlEnd, libxlHeader, "big");
  const isDomain =
    domain !== undefined && KINDS.has(domain.type) && domain.pageShift === 12 && domain.reserved1 === 0;
  const isImage =
    image?.marker === IMAGE_MARKER &&
    image.id === IMAGE_ID &&
    IMAGE_VERSIONS.includes(image.version) &&
    (image.options & IMAGE_RESERVED_OPTIONS) === 0 &&
    orderOf(image.options) === order;
  const isContext = context?.type === LIBXL_RECORD.LIBXC_CONTEXT && context.bodyLength === 0;
  const isLibxl =
    libxl?.ident === LIBXL_IDENT &&
    libxl.version === LIBXL_VERSION &&
    (libxl.options & LIBXL_RESERVED_OPTIONS) === 0;
  const isWrapped = isLibxl || isContext || libxl?.ident === LIBXL_IDENT || isXlMagic(bytes);
  // whatever is before the headers of the inner layers is another layer's
  const isXl = xlEnd >= CONFIG_AT;
  const outer: Layer = isXl ? "xl" : isWrapped || contextEnd >= WRAP ? "libxl" : "libxc";
  const around =
    outer === "libxc"
      ? []
      : [
          { start: xlEnd, end: libxlEnd, isWhole: isLibxl },
          { start: libxlEnd, end: contextEnd, isWhole: isContext },
        ];
  const xl = isXl ? xlParts(bytes.subarray(0, xlEnd), order) : undefined;
  const parts: HeadPart[] = [
    ...(xl?.parts ?? []),
    ...around,
    { start: contextEnd, end: imageEnd, isWhole: isImage },
    { start: imageEnd, end: first, isWhole: isDomain },
  ];
  // versions and types that no other value could be taken for by damage alone
  const isVersion =
    image !== undefined && IMAGE_VERSIONS.includes(image.version) && (isImage || image.id === IMAGE_ID);
  return {
    first,
    order,
    outer,
    isWrapped: outer === "libxc" ? undefined : true,
    type: isDomain ? KINDS.get(domain.type) : undefined,
    version: isVersion ? image.version : undefined,
    xen: isDomain && domain.xenMajor !== 0 ? `Xen ${domain.xenMajor}.${domain.xenMinor}` : undefined,
    config: xl?.config,
    hasDomain: isDomain,
    lost: lostHeadParts(
      parts.map((part) => ({ ...part, start: Math.max(0, part.start) })),
      proof,
      "the stream's headers",
    ),
  };
}

const KINDS: ReadonlyMap<number, "HVM" | "PV"> = new Map([
  [DOMAIN_TYPE.x86Pv, "PV"],
  [DOMAIN_TYPE.x86Hvm, "HVM"],
]);

/** The header of an xl save file and its configuration, which is up to the NUL that ends it. @param bytes up to libxl's header */
function xlParts(
  bytes: Uint8Array,
  order: ByteOrder,
): { readonly parts: readonly HeadPart[]; readonly config: string | undefined } {
  const header = xlHeader.read(viewOf(bytes), 0, order);
  const { configLength } = xlOptionalData.read(viewOf(bytes), xlHeader.size, order);
  const room = bytes.length - CONFIG_AT;
  const isHeader =
    XL_MAGIC.every((byte, i) => byte === bytes[i]) &&
    header.byteorder === XL_BYTE_ORDER &&
    (header.mandatoryFlags & XL_FLAGS.streamV2) !== 0 &&
    (header.mandatoryFlags & ~XL_KNOWN_FLAGS) === 0 &&
    header.optionalFlags === 0 &&
    header.optionalDataLength === bytes.length - xlHeader.size;
  const nul = bytes.indexOf(0, CONFIG_AT);
  const end = nul < 0 ? bytes.length : nul;
  const text = decodeConfig(bytes.subarray(CONFIG_AT, end));
  const isWhole = isJson(text) || (configLength <= room && /^[\t\n\r\x20-\x7e]+$/.test(text));
  return {
    parts: [
      { start: 0, end: CONFIG_AT, isWhole: isHeader && configLength <= room },
      { start: CONFIG_AT, end: bytes.length, isWhole },
    ],
    config: isWhole ? text : undefined,
  };
}
