import { expect } from "vitest";
import { type ByteSource, bytesSource, streamOf } from "../../../../src/io/byte-source.js";
import { readIntact } from "../../../../src/io/lost-bytes.js";
import { openRandomAccess, type RandomAccess } from "../../../../src/io/node/decompress.js";
import { DAMAGE_KINDS, damage, damageSize, randoms } from "../../../guest/damage-oracle.js";

/** A frame whose place is known: bytes of the packed data, and of what they unpack to. */
export interface KnownFrame {
  readonly start: number;
  readonly end: number;
  readonly from: number;
  readonly to: number;
}

/** Packed data whose every frame is known. */
export interface KnownPacked {
  readonly packed: Buffer;
  readonly plain: Buffer;
  readonly frames: readonly KnownFrame[];
}

/** Data packed in parts of `size` bytes, one after another. */
export function packedInParts(plain: Buffer, size: number, pack: (part: Buffer) => Buffer): KnownPacked {
  const parts: Buffer[] = [];
  const frames: KnownFrame[] = [];
  let start = 0;
  for (let from = 0; from < plain.length; from += size) {
    const to = Math.min(from + size, plain.length);
    const part = pack(plain.subarray(from, to));
    parts.push(part);
    frames.push({ start, end: start + part.length, from, to });
    start += part.length;
  }
  return { packed: Buffer.concat(parts), plain, frames };
}

/** From a file or a pipe: what comes of them is the same. */
function openPacked(packed: Buffer, name: string, isPiped: boolean): Promise<RandomAccess> {
  const source = bytesSource(packed, name);
  return openRandomAccess(isPiped ? streamOf(source) : source, { keepTorn: true });
}

/** What came of damaged data. */
interface Came {
  /** Bytes of frames outside the damage, and those of them that could be read. */
  readonly whole: number;
  readonly recovered: number;
  /** Whether the number of all lost bytes is known. */
  readonly isMeasured: boolean;
}

/**
 * Compares what damaged data unpack to with what they unpacked to before: whatever can be read and is not said to be
 * doubtful must be the same.
 * @param start of the damage; `end` is exclusive
 */
async function expectSame(
  { plain, frames }: KnownPacked,
  source: ByteSource,
  start: number,
  end: number,
): Promise<Came> {
  const lost = source.packed?.lost ?? [];
  const doubtful = source.packed?.doubtful ?? [];
  const where = `${source.name} from ${start} to ${end}`;
  /** Readable parts: where they are, and where they were. */
  const parts: { at: number; was: number; length: number }[] = [];
  let [at, was] = [0, 0];
  for (const part of lost) {
    parts.push({ at, was, length: part.start - at });
    was = part.isMeasured
      ? was + part.end - at
      : (frames.find((frame) => frame.end > part.packedEnd)?.from ?? plain.length);
    at = part.end;
  }
  parts.push({ at, was, length: source.size - at });
  const isRecovered = new Uint8Array(plain.length);
  for (const [i, part] of parts.entries()) {
    // a damage that is whole frames of another place: they can't be known not to be this one's
    const goesOnAt = lost[i - 1]?.packedEnd ?? 0;
    if (goesOnAt > start && goesOnAt < end) continue;
    const bytes = Buffer.alloc(part.length);
    expect((await readIntact(source, part.at, bytes)).length, where).toBe(part.length);
    for (let i = 0; i < part.length; i += 512) {
      const length = Math.min(512, part.length - i);
      const place = part.at + i;
      const isDoubtful =
        doubtful.some((doubt) => doubt.start < place + length && doubt.end > place) ||
        (source.packed?.tear !== undefined && place + length > source.size - (256 << 10));
      const is = bytes.subarray(i, i + length);
      if (!is.equals(plain.subarray(part.was + i, part.was + i + length))) {
        if (isDoubtful) continue;
        expect.fail(`${where}: other bytes at ${place}, which was ${part.was + i}`);
      }
      isRecovered.fill(1, part.was + i, part.was + i + length);
    }
  }
  let [whole, recovered] = [0, 0];
  for (const frame of frames) {
    if (frame.start < end && frame.end > start) continue;
    whole += frame.to - frame.from;
    for (let at = frame.from; at < frame.to; at += 1) if (isRecovered[at] === 1) recovered += 1;
  }
  return {
    whole,
    recovered,
    isMeasured: lost.every(({ isMeasured }) => isMeasured) && source.packed?.tear === undefined,
  };
}

/** How data are damaged. */
export interface Sweep {
  readonly rounds: number;
  readonly seed?: number;
  /** Bytes of a damage at most, as a part of the packed data. */
  readonly most?: number;
}

/**
 * Damages packed data at random places, each by itself, and holds what is required of what is left: nothing wrong, and at
 * least 95 % of the bytes in frames outside of the damage.
 */
export async function expectReadOn(
  file: KnownPacked,
  { rounds, seed = 7, most = 0.25 }: Sweep,
): Promise<{ readonly measured: number }> {
  const next = randoms(seed);
  let measured = 0;
  for (let round = 0; round < rounds; round += 1) {
    const kind = DAMAGE_KINDS[round % DAMAGE_KINDS.length] ?? "zeros";
    const size = Math.min(damageSize(kind, next), Math.ceil(file.packed.length * most));
    const start = Math.floor(next() * (file.packed.length - size));
    const damaged = damage(file.packed, kind, start, start + size, next);
    const opened = await openPacked(damaged, kind, round % 2 === 1);
    const came = await expectSame(file, opened.source, start, start + size);
    opened.close();
    const where = `${kind} from ${start} to ${start + size}`;
    if (came.whole > 0) expect(came.recovered / came.whole, where).toBeGreaterThanOrEqual(0.95);
    if (came.isMeasured) measured += 1;
  }
  return { measured };
}
