import { type ByteSource, readFully } from "../../io/byte-source.js";
import type { MemorySegment } from "../segments.js";

/** A segment and the number of its program header. */
interface NumberedSegment extends MemorySegment {
  readonly index: number;
}

/** Two segments that claim the same physical memory with other contents. */
export interface Contradiction {
  /** The segment whose contents count, as the later one in the file. */
  readonly segment: NumberedSegment;
  /** First guest-physical address whose contents differ. */
  readonly gpa: number;
}

/** Bytes compared in all: a dump may hold its kernel's image twice. */
const MOST_COMPARED = 128 << 20;
const PIECE = 256 << 10;

/**
 * Finds segments whose contents contradict those of another one. Each is compared with the one before it by address that
 * reaches furthest, so that time follows the number of segments; what is at the same place of the file is the same.
 */
export async function contradictions(
  source: ByteSource,
  segments: readonly NumberedSegment[],
): Promise<readonly Contradiction[]> {
  const found: Contradiction[] = [];
  const sorted = segments.filter(({ there }) => there > 0).sort((a, b) => a.physical - b.physical);
  let [furthest] = sorted;
  let left = MOST_COMPARED;
  for (const segment of sorted.slice(1)) {
    if (furthest === undefined) break;
    const end = Math.min(furthest.physical + furthest.there, segment.physical + segment.there);
    const isSame = furthest.offset - furthest.physical === segment.offset - segment.physical;
    if (!isSame && end > segment.physical && left > 0) {
      const length = Math.min(left, end - segment.physical);
      left -= length;
      const at = await firstDifference(
        source,
        furthest.offset + (segment.physical - furthest.physical),
        segment.offset,
        length,
      );
      if (at !== undefined)
        found.push({
          segment: segment.index > furthest.index ? segment : furthest,
          gpa: segment.physical + at,
        });
    }
    if (segment.physical + segment.there > furthest.physical + furthest.there) furthest = segment;
  }
  return found;
}

/** Offset of the first byte that differs between two pieces of a source. */
async function firstDifference(
  source: ByteSource,
  one: number,
  other: number,
  length: number,
): Promise<number | undefined> {
  const [a, b] = [new Uint8Array(Math.min(PIECE, length)), new Uint8Array(Math.min(PIECE, length))];
  for (let done = 0; done < length; done += PIECE) {
    const size = Math.min(PIECE, length - done);
    await readFully(source, one + done, a.subarray(0, size));
    await readFully(source, other + done, b.subarray(0, size));
    for (let i = 0; i < size; i += 1) if (a[i] !== b[i]) return done + i;
  }
  return undefined;
}

/** A contradiction for people. */
export function describeContradiction({ segment, gpa }: Contradiction): string {
  return `memory at 0x${gpa.toString(16)} has other contents in another segment: those of program header ${segment.index} count`;
}
