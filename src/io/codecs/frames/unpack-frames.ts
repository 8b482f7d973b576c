import { FormatError, TruncatedError } from "../../../findings/errors.js";
import type { ByteSource, ByteStream, DoubtfulBytes, LostBytes, Tear } from "../../byte-source.js";
import type { CompressionName } from "../compressions.js";
import { CODEC_RULES } from "../../rules.js";
import { decompressStream } from "../streams.js";
import { type Frame, type FrameWalk, PackedBytes } from "./frame.js";

const WALKS: Partial<Record<CompressionName, () => Promise<FrameWalk>>> = {
  zstd: async () => (await import("./zstd.js")).zstdFrames,
};

/** In place of a number of lost bytes that isn't known: further than any record reaches. */
const UNKNOWN_LENGTH = 2 ** 32;
/** Lost parts of one input. */
const MOST_LOST = 10_000;
const MOST_UNMEASURED = 1000;
/** Frames looked at to find the length that all but the last have. */
const USUAL_PROOF = 2;

/** What came of storing a stream. */
export interface Stored {
  readonly length: number;
  /** What ended it early. */
  readonly damage: FormatError | undefined;
}

/** What came of packed data that are damaged: offsets count lost bytes, which are not stored. */
export interface UnpackedFrames {
  /** Lost bytes among them. */
  readonly size: number;
  readonly lost: readonly LostBytes[];
  readonly doubtful: readonly DoubtfulBytes[];
  readonly tear: Tear | undefined;
}

/**
 * Unpacks what is whole of damaged data, frame by frame.
 * @param first what ended the attempt to unpack them in order
 * @param store takes a stream in, in place of all that it holds from an offset on
 * @returns undefined where the codec has no frames, or nothing follows the damaged one
 */
export async function unpackFrames(
  name: CompressionName,
  source: ByteSource,
  first: FormatError,
  store: (stream: ByteStream, at: number) => Promise<Stored>,
): Promise<UnpackedFrames | undefined> {
  const load = WALKS[name];
  if (load === undefined) return undefined;
  const frames: Frame[] = [];
  for await (const frame of (await load())(new PackedBytes(source))) frames.push(frame);
  const isCut = first instanceof TruncatedError && (frames.at(-1)?.start ?? 0) <= (first.place.offset ?? 0);
  if (frames.length < 2 || (isCut && frames.slice(0, -1).every(isSound))) return undefined;
  return new FrameUnpacker(name, frames, store).run();
}

const isSound = ({ open, size }: Frame): boolean => open !== undefined || size === 0;

class FrameUnpacker {
  readonly #name: CompressionName;
  readonly #frames: readonly Frame[];
  readonly #store: (stream: ByteStream, at: number) => Promise<Stored>;
  readonly #lost: LostBytes[] = [];
  readonly #doubtful: DoubtfulBytes[] = [];
  /** Lengths of frames that are whole, but for the last, by their number. */
  readonly #lengths = new Map<number, number>();
  /** Bytes so far: all, and those that are stored. */
  #at = 0;
  #stored = 0;
  #unmeasured = 0;

  constructor(
    name: CompressionName,
    frames: readonly Frame[],
    store: (stream: ByteStream, at: number) => Promise<Stored>,
  ) {
    this.#name = name;
    this.#frames = frames;
    this.#store = store;
  }

  async run(): Promise<UnpackedFrames> {
    for (const [i, frame] of this.#frames.entries()) {
      const tear = await this.#take(frame, i);
      if (tear !== undefined) return this.#result(tear);
    }
    return this.#result(undefined);
  }

  #result(tear: Tear | undefined): UnpackedFrames {
    return { size: this.#at, lost: this.#lost, doubtful: this.#doubtful, tear };
  }

  /** Takes a frame, or what is left of it. Answers with what ends the data, where nothing follows that could be used. */
  async #take(frame: Frame, index: number): Promise<Tear | undefined> {
    const { start, size, open, openUnchecked } = frame;
    const isLast = index === this.#frames.length - 1;
    let damage: FormatError | undefined;
    let kept = 0;
    if (open !== undefined) {
      const whole = await this.#store(this.#unpacked(open(), start), this.#stored);
      damage = whole.damage;
      kept = whole.length;
      if (damage === undefined) {
        if (!isLast) this.#lengths.set(index, kept);
        this.#keep(kept);
        return undefined;
      }
      let isComplete = false;
      if (openUnchecked !== undefined) {
        const plain = await this.#store(this.#unpacked(openUnchecked(), start), this.#stored);
        kept = plain.length;
        isComplete = plain.damage === undefined;
      }
      const doubtful = { start: this.#at, end: this.#at + kept, message: damage.message };
      if (kept > 0) this.#doubtful.push(doubtful);
      this.#keep(kept);
      if (isComplete) return undefined;
    } else if (size === 0) return undefined;
    const { rule, message } = damage ?? {
      rule: CODEC_RULES[this.#name],
      message: `${this.#name} data: what a frame begins with is damaged`,
    };
    const length = size ?? (frame.isUsual === true && !isLast ? await this.#usual(index) : undefined);
    const isMeasured = length !== undefined && length >= kept;
    if ((isLast && !isMeasured) || this.#lost.length === MOST_LOST || this.#unmeasured === MOST_UNMEASURED) {
      const packedOffset = damage?.place.offset ?? start;
      return { rule, message, isCut: damage instanceof TruncatedError, packedOffset };
    }
    if (isMeasured && length === kept) return undefined;
    this.#lose(frame, isMeasured ? length - kept : undefined, { rule, message });
    return undefined;
  }

  #lose(
    { start, end }: Frame,
    length: number | undefined,
    { rule, message }: Pick<LostBytes, "rule" | "message">,
  ): void {
    const last = this.#lost.at(-1);
    const joins = last?.end === this.#at && !last.isMeasured;
    // what follows an unknown number of lost bytes, and is lost too, makes them no better known
    if (joins) {
      this.#lost[this.#lost.length - 1] = { ...last, packedEnd: end };
      return;
    }
    if (length === undefined) this.#unmeasured += 1;
    const until = this.#at + (length ?? UNKNOWN_LENGTH);
    const isMeasured = length !== undefined;
    this.#lost.push({
      start: this.#at,
      end: until,
      rule,
      message: `${message} (packed bytes ${start} to ${end}, ${isMeasured ? length : "an unknown number of"} bytes unpacked)`,
      isMeasured,
      packedStart: start,
      packedEnd: end,
    });
    this.#at = until;
  }

  #keep(length: number): void {
    this.#at += length;
    this.#stored += length;
  }

  #unpacked(stream: ByteStream, start: number): ByteStream {
    return decompressStream(this.#name, stream, start);
  }

  /** The number of bytes that frames unpack to where at least two do, and none to another. */
  async #usual(from: number): Promise<number | undefined> {
    for (const [i, { open, start }] of this.#frames.slice(from + 1, -1).entries()) {
      if (this.#lengths.size >= USUAL_PROOF) break;
      if (open === undefined) continue;
      const length = await lengthOf(this.#unpacked(open(), start));
      if (length !== undefined) this.#lengths.set(from + 1 + i, length);
    }
    const lengths = new Set(this.#lengths.values());
    return this.#lengths.size >= USUAL_PROOF && lengths.size === 1 ? [...lengths][0] : undefined;
  }
}

const PIECE = 256 << 10;

/** Bytes of a stream; undefined where it is damaged. */
async function lengthOf(stream: ByteStream): Promise<number | undefined> {
  const buffer = new Uint8Array(PIECE);
  try {
    for (let length = 0; ; ) {
      const n = await stream.read(buffer);
      if (n === 0) return length;
      length += n;
    }
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
