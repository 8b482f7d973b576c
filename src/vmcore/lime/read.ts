import { viewOf } from "../../binary/layout.js";
import { formatError } from "../../findings/diagnostics.js";
import { FormatError } from "../../findings/errors.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import type { MemorySegment } from "../segments.js";
import { LIME_MAGIC, LIME_VERSION, limeHeader } from "./layout.js";
import { LIME_RULES } from "./rules.js";
import { MOST_RANGES } from "./salvage.js";

/** The ranges before the first invalid header. */
export interface LimeRanges {
  readonly ranges: readonly MemorySegment[];
  /** Why there are no more, if not for the file's end: the first byte that is no range's. */
  readonly lost: FormatError | undefined;
}

/** Reads the headers of all ranges, up to the first that is invalid. */
export async function readRanges(input: ByteSource): Promise<LimeRanges> {
  const ranges: MemorySegment[] = [];
  const head = new Uint8Array(limeHeader.size);
  if (input.size === 0)
    return { ranges, lost: formatError(LIME_RULES.header, input.name, { offset: 0 }, "the file is empty") };
  for (let at = 0; at < input.size; ) {
    let n: number;
    try {
      n = await readFully(input, at, head);
    } catch (error) {
      if (error instanceof FormatError) return { ranges, lost: error };
      throw error;
    }
    const problem = ranges.length === MOST_RANGES ? "there are too many ranges" : headerProblem(head, n);
    if (problem !== undefined)
      return { ranges, lost: formatError(LIME_RULES.header, input.name, { offset: at }, problem) };
    const { s_addr: physical, e_addr } = limeHeader.decode(head, "little");
    const memorySize = e_addr + 1 - physical;
    const offset = at + limeHeader.size;
    const there = Math.max(0, Math.min(memorySize, input.size - offset));
    ranges.push({ physical, offset, fileSize: memorySize, there, memorySize });
    at = offset + memorySize;
  }
  return { ranges, lost: undefined };
}

/** What is wrong with the first `n` bytes of a header, all there were. */
function headerProblem(head: Uint8Array, n: number): string | undefined {
  if (n < limeHeader.size) return `the file ends ${limeHeader.size - n} bytes before a range's header does`;
  const view = viewOf(head);
  const word = view.getUint32(limeHeader.offsetOf("magic"), true);
  if (word !== LIME_MAGIC) return `no range begins here, but 0x${word.toString(16)}`;
  const version = view.getUint32(limeHeader.offsetOf("version"), true);
  if (version !== LIME_VERSION) return `version ${version} of the format is not known`;
  const first = view.getBigUint64(limeHeader.offsetOf("s_addr"), true);
  const last = view.getBigUint64(limeHeader.offsetOf("e_addr"), true);
  if (first <= last && last < BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return `no memory has addresses 0x${first.toString(16)} to 0x${last.toString(16)}`;
}
