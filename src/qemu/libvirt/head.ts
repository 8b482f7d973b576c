import { type ByteOrder, latin1, latin1Bytes } from "../../binary/layout.js";
import type { GuestImage } from "../../guest/image.js";
import { askWitnesses, type HeadFact, headFact } from "../../guest/head.js";
import { type HeadPart, lostHeadParts } from "../../guest/head-parts.js";
import type { LostPart } from "../../guest/salvage.js";
import { indexOfBytes } from "../../io/byte-search.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import { damageOfText, type Extent, readDomain } from "./damaged-text.js";
import type { Domain } from "./domain.js";
import { findStream, type FoundStream, streamAt } from "./find-stream.js";
import { COMPRESSION, MAGIC_SIZE, PART_MAGIC, SAVE_MAGIC, SAVE_VERSION, saveHeader } from "./layout.js";
import { LARGEST_DATA, type SaveEnvelope } from "./read.js";

/*
 * The head of a save is libvirt's header, the domain's XML, a cookie (the CPU as the guest sees it), and zeros up to the
 * stream. The stream is known by its own first bytes, and so is where it begins; XML is text. What is damaged shows by that.
 */

/** What is known of a save whose header or XML is damaged. */
export interface SaveHead {
  readonly envelope: SaveEnvelope;
  readonly lost: readonly LostPart[];
  /** What the header held. */
  readonly facts: readonly HeadFact[];
  readonly isXmlDamaged: boolean;
}

type Header = ReturnType<typeof saveHeader.decode>;
type HeaderField = keyof Header;

/** Bytes of the mark that prove it. */
const MARK_PROOF = 8;

/** A header as far as it agrees with the rest of the file. */
interface KnownHeader {
  readonly header: Header;
  readonly order: ByteOrder;
  readonly stream: FoundStream | undefined;
  /** Fields that can be right. */
  readonly good: ReadonlySet<HeaderField>;
}

async function readHeader(input: ByteSource, bytes: Uint8Array, order: ByteOrder): Promise<KnownHeader> {
  const header = saveHeader.decode(bytes, order);
  const good = new Set<HeaderField>();
  const take = (field: HeaderField, isGood: boolean): void => void (isGood && good.add(field));
  take("magic", header.magic === SAVE_MAGIC || header.magic === PART_MAGIC);
  take("version", header.version >= 1 && header.version <= SAVE_VERSION);
  take("wasRunning", header.wasRunning <= 1);
  take(
    "unused",
    header.unused.every((word) => word === 0),
  );
  const at = saveHeader.size + header.dataLength;
  const isPlace = header.dataLength > 0 && header.dataLength <= LARGEST_DATA && at < input.size;
  const compression = isPlace ? await streamAt(input, at) : undefined;
  take("dataLength", compression !== undefined);
  take("compressed", compression !== undefined && compressionOf(header) === compression);
  return { header, order, good, stream: compression && { at, compression } };
}

const compressionOf = ({ version, compressed }: Header): (typeof COMPRESSION)[number] | undefined =>
  COMPRESSION[version === 1 ? 0 : compressed];

const markBytes = (bytes: Uint8Array, mark: string): number =>
  latin1Bytes(mark).filter((byte, i) => bytes[i] === byte).length;

/** Header and stream, in the byte order that agrees with more of the file. */
async function headerOf(
  input: ByteSource,
): Promise<(KnownHeader & { readonly bytes: Uint8Array }) | undefined> {
  const bytes = new Uint8Array(saveHeader.size);
  if ((await readBefore(input, 0, bytes)) < bytes.length) return undefined;
  const little = await readHeader(input, bytes, "little");
  const big = await readHeader(input, bytes, "big");
  const known = big.good.size > little.good.size ? big : little;
  if (known.stream !== undefined) return { ...known, bytes };
  const stream = await findStream(input, MAGIC_SIZE);
  const { header, order } = known;
  // a stream whose own start is damaged is where a header says that is whole
  const isSaid = known.good.has("magic") && known.good.has("version") && compressionOf(header) !== undefined;
  const at = saveHeader.size + header.dataLength;
  const said =
    isSaid && header.dataLength > 0 && at < input.size
      ? { at, compression: compressionOf(header) ?? "raw" }
      : undefined;
  const found = stream ?? said;
  const good = new Set(known.good);
  if (stream === undefined && said !== undefined) good.add("dataLength");
  if (found !== undefined && compressionOf(header) === found.compression) good.add("compressed");
  return { header, order, stream: found, good, bytes };
}

/** The texts of a save: offsets are in the data after the header. */
interface Texts {
  readonly xml: Extent;
  readonly cookie: Extent | undefined;
}

const DOMAIN_START = latin1Bytes("<domain");
const DOMAIN_END = latin1Bytes("</domain>");
const COOKIE_START = latin1Bytes("\0<cookie>");
const COOKIE_END = latin1Bytes("</cookie>");

/** Where a text ends: at a NUL after its last element, and a line's end. */
function endAfter(data: Uint8Array, end: Uint8Array, from: number): number | undefined {
  for (let at = indexOfBytes(data, end, from); at >= 0; at = indexOfBytes(data, end, at + 1)) {
    const after = at + end.length + (data[at + end.length] === 0x0a ? 1 : 0);
    if (data[after] === 0) return after;
  }
  return undefined;
}

function textsIn(data: Uint8Array): Texts {
  const marked = indexOfBytes(data, COOKIE_START, 0);
  const used = data.findLastIndex((byte) => byte !== 0) + 1;
  const end = endAfter(data, DOMAIN_END, 0) ?? (marked >= 0 ? marked : used);
  const start = end + 1;
  if (data[end] !== 0 || data[start] !== 0x3c) return { xml: { start: 0, end }, cookie: undefined };
  const last = endAfter(data, COOKIE_END, start) ?? data.indexOf(0, start);
  return { xml: { start: 0, end }, cookie: { start, end: last < 0 ? data.length : last } };
}

/** What was found in the head of a save. */
interface FoundHead extends KnownHeader {
  readonly stream: FoundStream;
  readonly bytes: Uint8Array;
  /** From the header's end to the stream. */
  readonly data: Uint8Array;
  readonly texts: Texts;
}

async function findHead(input: ByteSource): Promise<FoundHead | undefined> {
  const known = await headerOf(input);
  if (known?.stream === undefined || known.stream.at < saveHeader.size) return undefined;
  const data = new Uint8Array(known.stream.at - saveHeader.size);
  const read = await readBefore(input, saveHeader.size, data);
  const texts = textsIn(data.subarray(0, read));
  return { ...known, stream: known.stream, data, texts };
}

/** Whether an input is a save whose mark is damaged: by the rest of it, by where the header leads to, or by the XML. */
export async function isDamagedSave(input: ByteSource): Promise<boolean> {
  const head = await findHead(input);
  if (head === undefined) return false;
  const { bytes, good, data, texts } = head;
  const mark = Math.max(markBytes(bytes, SAVE_MAGIC), markBytes(bytes, PART_MAGIC));
  if (mark >= MARK_PROOF) return true;
  if (good.has("version") && good.has("dataLength") && good.has("compressed")) return true;
  // a management program may put a header with other XML in front of a stream
  const isStart = indexOfBytes(data.subarray(0, DOMAIN_START.length), DOMAIN_START, 0) === 0;
  const xml = data.subarray(0, texts.xml.end);
  const isEnd = endAfter(data, DOMAIN_END, 0) === texts.xml.end;
  return (isStart || isEnd) && !/<domain type=['"]xen/.test(latin1(xml.subarray(0, 256)));
}

/** What is known of a save whose header or XML is damaged; undefined where both are whole, or where its stream isn't found. */
export async function findSaveHead(input: ByteSource): Promise<SaveHead | undefined> {
  const head = await findHead(input);
  if (head === undefined) return undefined;
  const { header, order, stream, data, texts } = head;
  const good = new Set(head.good);
  const cookieAt = texts.cookie?.start ?? 0;
  const { domain, damage } = readDomain(data.subarray(0, texts.xml.end));
  const isCookieSaid = header.cookieOffset > 0 && header.cookieOffset < data.length;
  if (header.cookieOffset === cookieAt || (damage !== undefined && isCookieSaid)) good.add("cookieOffset");
  if (header.version === 1 && header.cookieOffset === 0) good.add("cookieOffset");
  // zeros that were written over it look like its usual value
  if (!good.has("dataLength") || !good.has("compressed")) good.delete("wasRunning");
  const parts = [...headerParts(good), ...textParts(head, damage)];
  const lost = lostHeadParts(parts, 2, "libvirt's header, or the XML in it");
  if (lost.length === 0) return undefined;
  const isFinished = finishedOf(head.bytes, good);
  const cookie = texts.cookie && data.subarray(texts.cookie.start, texts.cookie.end);
  const decoder = new TextDecoder();
  return {
    envelope: {
      order,
      ...(good.has("version") ? { version: header.version } : cookie === undefined ? {} : { version: 2 }),
      ...(isFinished === undefined ? {} : { finished: isFinished }),
      ...(good.has("wasRunning") ? { wasRunning: header.wasRunning === 1 } : {}),
      compression: stream.compression,
      streamOffset: stream.at,
      xml: decoder.decode(data.subarray(0, texts.xml.end)),
      ...(cookie === undefined ? {} : { cookie: decoder.decode(cookie) }),
      domain,
    },
    lost,
    facts: headerFacts(head, good, isFinished),
    isXmlDamaged: damage !== undefined,
  };
}

/** Whether the save was finished, by what is left of its mark. */
function finishedOf(bytes: Uint8Array, good: ReadonlySet<HeaderField>): boolean | undefined {
  const end = latin1(bytes.subarray(MAGIC_SIZE - 4, MAGIC_SIZE));
  if (!good.has("magic") && end !== SAVE_MAGIC.slice(-4) && end !== PART_MAGIC.slice(-4)) return undefined;
  return end === SAVE_MAGIC.slice(-4);
}

const HEADER_FIELDS: readonly HeaderField[] = [
  "magic",
  "version",
  "dataLength",
  "wasRunning",
  "compressed",
  "cookieOffset",
  "unused",
];

function headerParts(good: ReadonlySet<HeaderField>): HeadPart[] {
  return HEADER_FIELDS.map((field, i) => {
    const next = HEADER_FIELDS[i + 1];
    const end = next === undefined ? saveHeader.size : saveHeader.offsetOf(next);
    return { start: saveHeader.offsetOf(field), end, isWhole: good.has(field) };
  });
}

/** XML, cookie and the zeros after them: parts of them that are damaged. */
function textParts({ data, texts, stream }: FoundHead, damage: Extent | undefined): HeadPart[] {
  const base = saveHeader.size;
  const lost = (start: number, end: number): HeadPart => ({
    start: base + start,
    end: base + end,
    isWhole: false,
  });
  const { xml, cookie } = texts;
  if (xml.end === 0) return [{ start: base, end: stream.at, isWhole: false }];
  const parts = damage === undefined ? [] : [lost(damage.start, damage.end)];
  if (cookie !== undefined) {
    const of = damageOfText(data.subarray(cookie.start, cookie.end));
    if (of !== undefined) parts.push(lost(cookie.start + of.start, cookie.start + of.end));
  }
  const used = cookie?.end ?? xml.end;
  const room = data.subarray(used);
  const first = room.findIndex((byte) => byte !== 0);
  if (first >= 0) parts.push(lost(used + first, used + room.findLastIndex((byte) => byte !== 0) + 1));
  return parts;
}

function headerFacts(
  { header, stream, texts }: FoundHead,
  good: ReadonlySet<HeaderField>,
  isFinished: boolean | undefined,
): HeadFact[] {
  const facts: HeadFact[] = [];
  const ask = (field: HeaderField, fact: string, value: string | undefined, from: string): void => {
    if (!good.has(field)) facts.push(value === undefined ? { fact } : { fact, value, from });
  };
  const finished = isFinished === undefined ? undefined : isFinished ? "yes" : "no";
  ask("magic", "mark of a finished save", finished, "the rest of the mark");
  const version = texts.cookie === undefined ? undefined : "2";
  ask("version", "version of the save", version, "its cookie, which version 1 has none of");
  const start = "the stream's first bytes";
  ask("dataLength", "place of the stream", `0x${stream.at.toString(16)}`, start);
  ask("wasRunning", "mark of a running guest", undefined, "");
  if (compressionOf(header) !== stream.compression)
    ask("compressed", "compression", stream.compression, start);
  const cookie = texts.cookie && `0x${(saveHeader.size + texts.cookie.start).toString(16)}`;
  ask("cookieOffset", "place of the cookie", cookie, "where the XML ends");
  return facts;
}

/** What damaged XML held, as far as what is left of it, or the stream, shows it. */
export function domainFacts(domain: Domain, { facts, vcpus, blocks = [] }: GuestImage): HeadFact[] {
  const left = <T>(value: T | undefined): { from: string; value: T | undefined } => ({
    from: "what is left of the XML",
    value,
  });
  const { specific } = facts;
  const names = specific?.kind === "qemu-stream" ? specific.ramBlocks : [];
  const ram = blocks.filter(({ name }) => names.includes(name)).reduce((sum, { size }) => sum + size, 0);
  const from = "the stream's configuration";
  return [
    headFact("domain's name", askWitnesses([left(domain.name)])),
    headFact("domain's UUID", askWitnesses([left(domain.uuid), { from, value: facts.uuid }])),
    headFact("machine type", askWitnesses([left(domain.machine), { from, value: facts.guestType }])),
    headFact(
      "domain's memory",
      askWitnesses([left(domain.memory), { from: "the blocks of its RAM", value: ram || undefined }]),
      (bytes) => `${bytes} bytes`,
    ),
    headFact(
      "number of vCPUs",
      askWitnesses([left(domain.vcpus), { from: "their states", value: vcpus.length || undefined }]),
    ),
  ];
}
