import { FormatError, TruncatedError } from "../../../findings/errors.js";
import type { ByteSource, ByteStream, DoubtfulBytes, LostBytes, Tear } from "../../byte-source.js";
import type { CompressionName } from "../compressions.js";
import { CODEC_RULES } from "../../rules.js";
import { decompressStream } from "../streams.js";
import { type Frame, type FrameWalk, PackedBytes } from "./frame.js";

const WALKS: Record<CompressionName, () => Promise<FrameWalk>> = {
  zlib: async () => (await import("./frame.js")).oneFrame,
  gzip: async () => (await import("./gzip.js")).gzipFrames,
  xz: async () => (await import("./xz.js")).xzFrames,
  zstd: async () => (await import("./zstd.js")).zstdFrames,
  lz4: async () => (await import("./lz4.js")).lz4Frames,
  bzip2: async () => (await import("./bzip2.js")).bzip2Frames,
  lzop: async () => (await import("./lzop.js")).lzopFrames,
};

/** In place of a number of lost bytes that isn't known: further than any record reaches. */
const UNKNOWN_LENGTH = 2 ** 32;
/** Lost parts of one input. */
const MOST_LOST = 10_000;
const MOST_UNMEASURED = 1000;
/** Frames looked at to find the length that all but the last have. */
const USUAL_PROOF = 2;
/** The same where no checksum says that they are whole. */
const USUAL_VOTES = 5;

const UNCHECKED = "no checksum proves these bytes, and the one of all of them together is wrong";

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

/** What finds the frames of a compression. */
export function frameWalk(name: CompressionName): Promise<FrameWalk> {
  return WALKS[name]();
}

/**
 * Unpacks what is whole of damaged data, frame by frame.
 * @param first what ended the attempt to unpack them in order
 * @param store takes a stream in, in place of all that it holds from an offset on
 * @param start offset of the data's first byte in the input that they are part of: packed places count from there
 * @returns undefined where nothing follows the damaged frame
 */
export async function unpackFrames(
  name: CompressionName,
  source: ByteSource,
  first: FormatError,
  store: (stream: ByteStream, at: number) => Promise<Stored>,
  start = 0,
): Promise<UnpackedFrames | undefined> {
  const walk = await frameWalk(name);
  const frames: Frame[] = [];
  for await (const frame of walk(new PackedBytes(source))) frames.push(frame);
  const isCut =
    first instanceof TruncatedError && (frames.at(-1)?.start ?? 0) + start <= (first.place.offset ?? 0);
  // of one that is cut, nothing more can come
  const isOne = frames.length < 2 && (first instanceof TruncatedError || frames[0]?.parts === undefined);
  if (isOne || (isCut && frames.slice(0, -1).every(isSound))) return undefined;
  return new FrameUnpacker(name, frames, store, start).run();
}

const isSound = ({ open, size }: Frame): boolean => open !== undefined || size === 0;

class FrameUnpacker {
  readonly #name: CompressionName;
  /** Those that are left are put in place of one that has parts. */
  #frames: readonly Frame[];
  readonly #store: (stream: ByteStream, at: number) => Promise<Stored>;
  readonly #start: number;
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
    start: number,
  ) {
    this.#start = start;
    this.#name = name;
    this.#frames = frames;
    this.#store = store;
  }

  async run(): Promise<UnpackedFrames> {
    for (let i = 0; i < this.#frames.length; i += 1) {
      const frame = this.#frames[i];
      const tear = frame && (await this.#take(frame, i));
      if (tear !== undefined) return this.#result(tear);
    }
    return this.#result(undefined);
  }

  #result(tear: Tear | undefined): UnpackedFrames {
    const [all] = this.#doubtful;
    // of one frame alone: that its last bytes may be wrong is said with its end
    if (tear?.message === all?.message && all?.start === 0 && all.end === this.#at) this.#doubtful.pop();
    return { size: this.#at, lost: this.#lost, doubtful: this.#doubtful, tear };
  }

  /** Takes a frame, or what is left of it. Answers with what ends the data, where nothing follows that could be used. */
  async #take(frame: Frame, index: number): Promise<Tear | undefined> {
    const { start, size, open, openUnchecked, isUsual = false } = frame;
    const isLast = index === this.#frames.length - 1;
    let damage: FormatError | undefined;
    let kept = 0;
    if (open !== undefined) {
      const whole = await this.#store(this.#unpacked(open(), start), this.#stored);
      damage = whole.damage;
      kept = whole.length;
      const isDoubted = damage === undefined && !isLast && isUsual && frame.isChecked === false;
      const expected = isDoubted ? (size ?? (await this.#usual(index))) : undefined;
      if (expected !== undefined && expected !== kept) {
        const problem = `${this.#name} data: a block unpacks to ${kept} bytes, and all others to ${expected}`;
        damage = new FormatError(CODEC_RULES[this.#name], problem, { offset: this.#start + start });
        kept = Math.min(kept, expected);
      }
      if (damage === undefined) {
        if (isUsual && !isLast) this.#lengths.set(index, kept);
        if (frame.isChecked === false) this.#doubt(kept, UNCHECKED);
        this.#keep(kept);
        return undefined;
      }
      if (frame.parts !== undefined) {
        const parts: Frame[] = [];
        for await (const part of frame.parts()) parts.push(part);
        this.#frames = [...this.#frames.slice(0, index), ...parts, ...this.#frames.slice(index + 1)];
        this.#lengths.clear();
        const [first] = parts;
        return first && this.#take(first, index);
      }
      let isComplete = false;
      if (openUnchecked !== undefined) {
        const plain = await this.#store(this.#unpacked(openUnchecked(), start), this.#stored);
        kept = plain.length;
        isComplete = plain.damage === undefined;
      }
      if (frame.givesProven !== true) this.#doubt(kept, damage.message);
      this.#keep(kept);
      if (isComplete) return undefined;
    } else if (size === 0) return undefined;
    const { rule, message } = damage ?? {
      rule: CODEC_RULES[this.#name],
      message: `${this.#name} data: what a frame begins with is damaged`,
    };
    const length = size ?? (isUsual && !isLast ? await this.#usual(index) : undefined);
    const isMeasured = length !== undefined && length >= kept;
    if ((isLast && !isMeasured) || this.#lost.length === MOST_LOST || this.#unmeasured === MOST_UNMEASURED) {
      const packedOffset = damage?.place.offset ?? this.#start + start;
      return { rule, message, isCut: damage instanceof TruncatedError, packedOffset };
    }
    if (isMeasured && length === kept) return undefined;
    this.#lose(frame, isMeasured ? length - kept : undefined, { rule, message });
    return undefined;
  }

  #lose(
    frame: Frame,
    length: number | undefined,
    { rule, message }: Pick<LostBytes, "rule" | "message">,
  ): void {
    const start = this.#start + frame.start;
    const end = this.#start + frame.end;
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

  /** The next bytes, so many, are doubtful. */
  #doubt(length: number, message: string): void {
    const last = this.#doubtful.at(-1);
    if (length === 0) return;
    const end = this.#at + length;
    if (last?.end === this.#at && last.message === message)
      this.#doubtful[this.#doubtful.length - 1] = { ...last, end };
    else this.#doubtful.push({ start: this.#at, end, message });
  }

  #keep(length: number): void {
    this.#at += length;
    this.#stored += length;
  }

  #unpacked(stream: ByteStream, start: number): ByteStream {
    return decompressStream(this.#name, stream, this.#start + start);
  }

  /**
   * The number of bytes that frames like one unpack to: all of those that are looked at, two at least; of frames without a
   * checksum most of them, for some may be damaged.
   */
  async #usual(index: number): Promise<number | undefined> {
    const isChecked = this.#frames[index]?.isChecked ?? true;
    this.#lengths.delete(index);
    for (const [i, { open, start, isUsual }] of this.#frames.slice(index + 1, -1).entries()) {
      if (this.#lengths.size >= (isChecked ? USUAL_PROOF : USUAL_VOTES)) break;
      if (open === undefined || isUsual !== true) continue;
      const length = await lengthOf(this.#unpacked(open(), start));
      if (length !== undefined) this.#lengths.set(index + 1 + i, length);
    }
    const { nominal } = this.#frames[index] ?? {};
    if (nominal !== undefined && this.#lengths.size < USUAL_PROOF) return nominal;
    const counts = new Map<number, number>();
    for (const length of this.#lengths.values()) counts.set(length, (counts.get(length) ?? 0) + 1);
    const [most, count] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a), [0, 0]);
    const least = isChecked ? this.#lengths.size : Math.floor(this.#lengths.size / 2) + 1;
    return count >= USUAL_PROOF && count >= least ? most : undefined;
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
