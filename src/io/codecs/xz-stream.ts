import { FormatError, TruncatedError } from "../../findings/errors.js";
import type { ByteReader } from "../byte-reader.js";
import { CODEC_RULES } from "../rules.js";
import { crc32 } from "./checksums.js";
import { hasBytes, joined } from "./pieces.js";

/** Bytes of input handed to the decoder at a time: its own buffer. */
const STEP = 64 << 10;
/** Magic bytes at a stream's start (The .xz File Format 1.2.0, section 2.1.1.1). */
const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const FOOTER = 12;
/** Magic bytes that end a footer. */
const CLOSING = [0x59, 0x5a] as const;

/** What the decoder's error codes mean (xz.h of XZ Embedded). */
const MEANINGS: Readonly<Record<string, string>> = {
  "3": "memory ran out",
  "4": "it wants more memory than there is",
  "5": "no stream starts here",
  "6": "it uses options that are not supported",
  "7": "it is damaged",
  "8": "it is damaged",
};

const damaged = (message: string): FormatError => new FormatError(CODEC_RULES.xz, `xz data: ${message}`);

/**
 * What the decoder of one xz stream is given: steps that end where a stream's footer does, so that it sees nothing of
 * what follows.
 */
class StreamInput {
  readonly #reader: ByteReader;
  /** The last bytes handed out. */
  #last: Uint8Array = new Uint8Array(0);

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  async next(): Promise<Uint8Array | undefined> {
    await hasBytes(this.#reader, STEP);
    const ahead = this.#reader.peek(STEP);
    if (ahead.length === 0) return undefined;
    const known = joined(this.#last, ahead);
    let end = known.indexOf(CLOSING[0], Math.max(0, this.#last.length - 1)) + CLOSING.length;
    while (end >= CLOSING.length && !isFooter(known.subarray(0, end)))
      end = known.indexOf(CLOSING[0], end - 1) + CLOSING.length;
    const length = end < CLOSING.length ? ahead.length : end - this.#last.length;
    const bytes = this.#reader.take(length).slice();
    this.#last = joined(this.#last, bytes).slice(-FOOTER);
    return bytes;
  }

  /** Whether the last bytes were a footer. */
  get endsWithFooter(): boolean {
    return isFooter(this.#last);
  }
}

/** Whether bytes end with a stream's footer: its CRC-32, the index's size, flags, `YZ`. */
function isFooter(bytes: Uint8Array): boolean {
  const footer = bytes.slice(-FOOTER);
  if (footer.length < FOOTER || footer[10] !== CLOSING[0] || footer[11] !== CLOSING[1]) return false;
  return new DataView(footer.buffer).getUint32(0, true) === crc32(footer.subarray(4, 10));
}

interface XzModule {
  readonly XzReadableStream: new (packed: ReadableStream<Uint8Array>) => ReadableStream<Uint8Array>;
}

/**
 * Unpacks xz streams, one after another.
 * @throws FormatError `codec/xz`, TruncatedError where the input ends early
 */
export async function* unxz(reader: ByteReader): AsyncIterable<Uint8Array> {
  do {
    const input = new StreamInput(reader);
    yield* unpackStream(input);
    await skipZeros(reader);
    if (!input.endsWithFooter || !(await endsOrGoesOn(reader))) throw damaged("other bytes follow its end");
  } while (await hasBytes(reader, 1));
}

async function skipZeros(reader: ByteReader): Promise<void> {
  while ((await hasBytes(reader, 1)) && reader.peek(1)[0] === 0) {
    const ahead = reader.peek(reader.available);
    const other = ahead.findIndex((byte) => byte !== 0);
    reader.take(other === -1 ? ahead.length : other);
  }
}

async function endsOrGoesOn(reader: ByteReader): Promise<boolean> {
  await hasBytes(reader, MAGIC.length);
  const head = reader.peek(MAGIC.length);
  return head.length === 0 || MAGIC.every((byte, i) => head[i] === byte);
}

async function* unpackStream(input: StreamInput): AsyncIterable<Uint8Array> {
  const module: XzModule & { readonly default?: XzModule } = await import("xz-decompress");
  // a CommonJS package: loaders differ in where they put its exports
  const { XzReadableStream } = module.default ?? module;
  let isDry = false;
  const packed = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const bytes = await input.next();
        isDry = bytes === undefined;
        if (bytes === undefined) controller.close();
        else controller.enqueue(bytes);
      },
    },
    // nothing ahead of what is asked for: that the input ran dry must show only when it is missed
    { highWaterMark: 0 },
  );
  const output = new XzReadableStream(packed).getReader();
  let done = false;
  try {
    while (!done) {
      const next = await output.read();
      done = next.done;
      if (!next.done) yield next.value;
    }
  } catch (error) {
    done = true;
    if (isDry) throw new TruncatedError(CODEC_RULES.xz, "xz data: it ends early", 1);
    const code = /error code (\d+)$/.exec((error as Error).message)?.[1] ?? "";
    throw damaged(MEANINGS[code] ?? (error as Error).message);
  } finally {
    if (!done) await output.cancel();
  }
}
