import { appendTo } from "../../binary/arrays.js";
import { trimNuls } from "../../binary/text.js";
import { latin1, type ByteOrder, viewOf } from "../../binary/layout.js";
import type { Rule } from "../../findings/rule.js";
import { formatError } from "../../findings/diagnostics.js";
import { Report } from "../../findings/report.js";
import { peekHead } from "../../io/peek-head.js";
import { ByteReader } from "../../io/byte-reader.js";
import {
  type ByteSource,
  type ByteStream,
  isByteSource,
  readFully,
  sliceSource,
} from "../../io/byte-source.js";
import { XenStream } from "../stream/read.js";
import { isLibvirtLibxl, isXapi } from "./detect.js";
import {
  LIBVIRT_LIBXL_MAGIC,
  LIBVIRT_LIBXL_VERSIONS,
  libvirtLibxlHeader,
  XAPI_MAGIC,
  XAPI_RECORD,
  XAPI_RECORD_NAMES,
  xapiRecordHeader,
  XML_LIMIT,
} from "./layout.js";
import { ENVELOPE_RULES } from "./rules.js";

/** One record of an XAPI image. */
export interface EnvelopeRecord {
  readonly type: string;
  /** Bytes from the start of the input to its header. */
  readonly offset: number;
  /** As its header says: 0 for a stream. */
  readonly length: number;
}

/** What is around a stream. */
export interface Envelope {
  readonly kind: "xapi" | "libvirt-libxl";
  readonly title: string;
  readonly records: readonly EnvelopeRecord[];
  /** libvirt's XML or XAPI's s-expression of the domain. */
  readonly config?: string;
  /** Bytes from the start of the input to the stream's. */
  readonly streamOffset: number;
}

/** An envelope that was entered: `stream` begins where the Xen stream does. */
export interface Entered<Input> {
  readonly envelope: Envelope;
  readonly stream: Input;
  /** What `stream` of a pipe is read through: once that ended, the reader is at what follows it. */
  readonly reader: ByteReader;
}

/** How an envelope is entered. */
export interface EnterOptions {
  /** The pipe is read by nobody else: its head and the stream may be read in large pieces. Default: exactly. */
  readonly ahead?: boolean;
}

/** Opens whichever envelope an input starts with; without one `stream` is the input as it was. */
export async function enterEnvelope<Input extends ByteSource | ByteStream>(
  input: Input,
): Promise<{ readonly envelope?: Envelope; readonly stream: Input }> {
  const { head, input: whole } = await peekHead(input, LIBVIRT_LIBXL_MAGIC.length);
  if (isXapi(head)) return enterXapi(whole);
  return isLibvirtLibxl(head) ? enterLibvirtLibxl(whole) : { stream: whole };
}

class Entrance {
  readonly reader: ByteReader;
  readonly #input: ByteSource | ByteStream;

  readonly #ahead: boolean;

  constructor(input: ByteSource | ByteStream, { ahead = false }: EnterOptions = {}) {
    this.#input = input;
    this.#ahead = ahead;
    // what follows the envelope's head stays in a pipe for the stream's own reader
    this.reader = new ByteReader(input, { exact: !ahead });
  }

  fail(rule: Rule, message: string, offset = this.reader.position): never {
    throw formatError(rule, this.#input.name, { offset }, message);
  }

  async need(count: number, what: string): Promise<void> {
    if (await this.reader.need(count)) return;
    const missing = count - this.reader.available;
    this.fail(ENVELOPE_RULES.truncated, `${missing} bytes of ${what} are missing`);
  }

  async skip(count: number, what: string): Promise<void> {
    const skipped = await this.reader.skip(count);
    if (skipped < count)
      this.fail(ENVELOPE_RULES.truncated, `${count - skipped} bytes of ${what} are missing`);
  }

  rest(): ByteSource | ByteStream {
    const { reader } = this;
    if (isByteSource(this.#input)) return sliceSource(this.#input, reader.position, this.#input.size);
    if (!this.#ahead) return this.#input;
    return { name: this.#input.name, read: (into: Uint8Array) => reader.readInto(into) };
  }
}

/** The libxl stream after libvirt's header and XML. @throws FormatError */
export async function enterLibvirtLibxl<Input extends ByteSource | ByteStream>(
  input: Input,
  options: EnterOptions = {},
): Promise<Entered<Input>> {
  const entrance = new Entrance(input, options);
  const { reader } = entrance;
  await entrance.need(libvirtLibxlHeader.size, "the header");
  const versionAt = reader.at + libvirtLibxlHeader.offsetOf("version");
  const order: ByteOrder = reader.view.getUint32(versionAt, true) < 0x1_0000 ? "little" : "big";
  const { version, xmlLength } = libvirtLibxlHeader.read(reader.view, reader.at, order);
  if (!LIBVIRT_LIBXL_VERSIONS.includes(version))
    entrance.fail(ENVELOPE_RULES.libvirtVersion, `version ${version}: 1 and 2 are known`);
  if (xmlLength === 0 || xmlLength > XML_LIMIT)
    entrance.fail(ENVELOPE_RULES.libvirtXml, `a domain description of ${xmlLength} bytes`);
  reader.take(libvirtLibxlHeader.size);
  await entrance.need(xmlLength, "the domain's XML");
  const config = trimNuls(new TextDecoder().decode(reader.take(xmlLength)));
  return {
    envelope: {
      kind: "libvirt-libxl",
      title: `libvirt libxl save file, version ${version}`,
      records: [],
      config,
      streamOffset: reader.position,
    },
    stream: entrance.rest() as Input,
    reader,
  };
}

const STREAMS: ReadonlySet<number> = new Set([XAPI_RECORD.libxc, XAPI_RECORD.libxl, XAPI_RECORD.libxcLegacy]);

/** The memory image in an XAPI image; of a file its end and the records after it too. @throws FormatError */
export async function enterXapi<Input extends ByteSource | ByteStream>(
  input: Input,
  options: EnterOptions = {},
): Promise<Entered<Input>> {
  const entrance = new Entrance(input, options);
  const { reader } = entrance;
  await entrance.need(XAPI_MAGIC.length, "the signature");
  reader.take(XAPI_MAGIC.length);
  const records: EnvelopeRecord[] = [];
  let config: string | undefined;
  for (;;) {
    const { record, type } = await nextRecord(entrance);
    records.push(record);
    if (type === XAPI_RECORD.end)
      entrance.fail(ENVELOPE_RULES.xapiOrder, "the image ends before any memory image", record.offset);
    if (STREAMS.has(type)) {
      const streamOffset = reader.position;
      const rest = entrance.rest();
      const stream = isByteSource(rest)
        ? await bounded(rest, record.length, type)
        : record.length > 0
          ? firstOf(rest, record.length)
          : type === XAPI_RECORD.libxcLegacy
            ? withoutEndMark(rest)
            : rest;
      if (isByteSource(stream) && isByteSource(input)) {
        const following = sliceSource(input, streamOffset + stream.size, input.size);
        appendTo(records, await recordsAfter(following, streamOffset + stream.size));
      }
      return {
        envelope: {
          kind: "xapi",
          title: "XAPI suspend image",
          records,
          ...(config === undefined ? {} : { config }),
          streamOffset,
        },
        stream: stream as Input,
        reader,
      };
    }
    if (type === XAPI_RECORD.xenops && record.length <= XML_LIMIT) {
      await entrance.need(record.length, "the Xenops record");
      config = latin1(reader.take(record.length));
    } else {
      await entrance.skip(record.length, `the ${record.type} record`);
    }
  }
}

async function nextRecord(entrance: Entrance): Promise<{ record: EnvelopeRecord; type: number }> {
  const { reader } = entrance;
  const offset = reader.position;
  await entrance.need(xapiRecordHeader.size, "a record header");
  const high = reader.view.getUint32(reader.at + 4, true);
  const type = reader.view.getUint32(reader.at, true);
  const name = high === 0 ? XAPI_RECORD_NAMES.get(type) : undefined;
  if (name === undefined)
    entrance.fail(ENVELOPE_RULES.xapiType, `a record of unknown type 0x${type.toString(16)}`);
  const { length } = xapiRecordHeader.read(reader.view, reader.at, "little");
  reader.take(xapiRecordHeader.size);
  return { record: { type: name, offset, length }, type };
}

/** Cuts the rest of an image to the stream that it starts with, which ends itself. */
async function bounded(rest: ByteSource, length: number, type: number): Promise<ByteSource> {
  if (length > 0) return sliceSource(rest, 0, length);
  if (type === XAPI_RECORD.libxcLegacy) return sliceSource(rest, 0, await legacyEnd(rest));
  // what is wrong with it is reported when it is read for its own sake
  const stream = new XenStream(rest, new Report(rest.name));
  for await (const item of stream.items()) {
    if (item.kind === "trailing") return sliceSource(rest, 0, item.offset);
  }
  return rest;
}

/** The end of a legacy stream is known only once it is read whole: here only the end mark of the image is cut off. */
async function legacyEnd(rest: ByteSource): Promise<number> {
  const mark = new Uint8Array(xapiRecordHeader.size);
  if (rest.size < mark.length) return rest.size;
  await readFully(rest, rest.size - mark.length, mark);
  return isEndMark(mark) ? rest.size - mark.length : rest.size;
}

function isEndMark(bytes: Uint8Array): boolean {
  if (bytes.length !== xapiRecordHeader.size) return false;
  const view = viewOf(bytes);
  return view.getBigUint64(0, true) === BigInt(XAPI_RECORD.end) && view.getBigUint64(8, true) === 0n;
}

/** The first `length` bytes of a stream as one of their own. */
function firstOf(rest: ByteStream, length: number): ByteStream {
  let left = length;
  return {
    name: rest.name,
    async read(into) {
      if (left === 0 || into.length === 0) return 0;
      const n = await rest.read(into.subarray(0, Math.min(left, into.length)));
      left -= n;
      return n;
    },
  };
}

const PIPE_WINDOW = 64 << 10;

/** The same of a pipe: the last bytes are held back until it shows whether more follow. */
function withoutEndMark(rest: ByteStream): ByteStream {
  const window = new Uint8Array(PIPE_WINDOW);
  let start = 0;
  let end = 0;
  let ended = false;
  return {
    name: rest.name,
    async read(into) {
      while (!ended && end - start <= xapiRecordHeader.size) {
        window.copyWithin(0, start, end);
        end -= start;
        start = 0;
        const n = await rest.read(window.subarray(end));
        end += n;
        ended = n === 0;
        if (ended && isEndMark(window.subarray(start, end))) end = start;
      }
      const ready = end - start - (ended ? 0 : xapiRecordHeader.size);
      const part = window.subarray(start, start + Math.min(ready, into.length));
      into.set(part);
      start += part.length;
      return part.length;
    },
  };
}

/** The records after the memory image, as far as they can be followed; `input` begins with the first, at `base`. */
export async function recordsAfter(
  input: ByteSource | ByteStream,
  base: number,
): Promise<readonly EnvelopeRecord[]> {
  const entrance = new Entrance(input);
  const records: EnvelopeRecord[] = [];
  try {
    while (await entrance.reader.need(1)) {
      const { record, type } = await nextRecord(entrance);
      records.push({ ...record, offset: base + record.offset });
      // a vGPU's state has no length either
      if (type === XAPI_RECORD.end || type === XAPI_RECORD.demu) break;
      await entrance.skip(record.length, `the ${record.type} record`);
    }
  } catch {
    // what can't be followed shows by the missing end mark
  }
  return records;
}

/** Whether an image, the last of whose records these are, ends as it should. */
export function hasEndMark(records: readonly EnvelopeRecord[]): boolean {
  const last = records.at(-1)?.type;
  return last === XAPI_RECORD_NAMES.get(XAPI_RECORD.end);
}
