import type { Transform } from "node:stream";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import type { Rule } from "../../findings/rule.js";
import type { ByteReader } from "../byte-reader.js";
import { hasBytes, type Unpacker } from "../codecs/pieces.js";
import { isZero, wordsOf } from "../zeros.js";

/** Bytes handed to zlib at a time: bounds what it gives back at once, a thousand times as much at most. */
const STEP = 16 << 10;

/** A decoder of Node's zlib: a stream that counts the bytes that it took. */
export type ZlibStream = Transform & { readonly bytesWritten: number };

/**
 * Drives one of Node's decoders a step at a time, so that nothing it gave back is lost when it fails: as a stream it
 * drops what waits to be read.
 */
export class Engine {
  readonly #stream: ZlibStream;
  #pieces: Uint8Array[] = [];
  #resume: () => void = () => undefined;
  /** What ended it. */
  failure: Error | undefined;
  /** The decoder takes no more: its data are complete. */
  ended = false;

  constructor(stream: ZlibStream) {
    this.#stream = stream;
    stream.on("data", (piece: Uint8Array) => this.#pieces.push(piece));
    stream.on("end", () => {
      this.ended = true;
      this.#resume();
    });
    stream.on("error", (error) => {
      this.failure = error;
      this.#resume();
    });
  }

  /** Bytes that the decoder took. */
  get taken(): number {
    return this.#stream.bytesWritten;
  }

  /** Hands bytes over; answers with what came of them. Afterwards `failure` and `ended` say how it went. */
  async push(bytes: Uint8Array): Promise<readonly Uint8Array[]> {
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
      this.#stream.write(bytes, () => {
        // events of this step come before the next turn of the loop
        setImmediate(resolve);
      });
    });
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  close(): void {
    this.#stream.destroy();
  }
}

/** What there is to know of a compression that zlib decodes. */
export interface ZlibForm {
  readonly rule: Rule;
  /** For messages: `gzip`. */
  readonly name: string;
  /** Bytes of length and checksum at the end. */
  readonly trailer: number;
  /** Zeros may follow, as tapes pad files. */
  readonly padded: boolean;
  readonly create: () => ZlibStream;
}

/** An unpacker over one of zlib's decoders. It throws FormatError, and TruncatedError where the input ends early. */
export function zlibUnpacker(form: ZlibForm): Unpacker {
  return async function* unpack(reader) {
    const engine = new Engine(form.create());
    try {
      yield* unpackWith(engine, form, reader);
    } finally {
      engine.close();
    }
  };
}

async function* unpackWith(
  engine: Engine,
  { rule, name, trailer, padded }: ZlibForm,
  reader: ByteReader,
): AsyncIterable<Uint8Array> {
  const start = reader.position;
  for await (const bytes of heldBack(reader, trailer)) {
    yield* await engine.push(bytes);
    const offset = start + engine.taken;
    if (engine.failure !== undefined)
      throw new FormatError(rule, `${name} data: ${engine.failure.message}`, { offset });
    const rest = reader.position - offset;
    if (rest === 0) continue;
    if (!padded || !areZeros(bytes.slice(bytes.length - rest)) || !(await onlyZerosFollow(reader)))
      throw new FormatError(rule, `${name} data: other bytes follow their end`, { offset });
    return;
  }
  // a decoder whose data are complete takes no byte more
  const before = engine.taken;
  await engine.push(new Uint8Array(1));
  if (engine.failure !== undefined || engine.taken > before)
    throw new TruncatedError(rule, `${name} data: it ends early`, 1);
}

/**
 * Copies of what is left of an input, the last `tail` bytes by themselves: a checksum that turns out wrong must not take
 * the data before it along.
 */
async function* heldBack(reader: ByteReader, tail: number): AsyncIterable<Uint8Array> {
  while (await hasBytes(reader, tail + 1)) yield reader.take(Math.min(STEP, reader.available - tail)).slice();
  if (reader.available > 0) yield reader.take(reader.available).slice();
}

const areZeros = (bytes: Uint8Array): boolean => isZero(bytes, wordsOf(bytes));

async function onlyZerosFollow(reader: ByteReader): Promise<boolean> {
  while (await hasBytes(reader, 1)) if (!areZeros(reader.take(reader.available))) return false;
  return true;
}
