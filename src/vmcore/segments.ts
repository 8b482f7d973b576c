import { absentReasons } from "../guest/absent.js";
import { PAGE_SIZE } from "../guest/memory.js";
import { formatError } from "../findings/diagnostics.js";
import { FRAME_LIMIT } from "../guest/page-index.js";
import { GUEST_RULES } from "../guest/rules.js";
import { PageMap } from "../guest/page-map.js";
import type { ByteSource } from "../io/byte-source.js";

/** A run of physical memory whose contents are in one piece in a file. */
export interface MemorySegment {
  readonly physical: number;
  readonly offset: number;
  /** Bytes in the file as announced, and what the file really has of them. */
  readonly fileSize: number;
  readonly there: number;
  readonly memorySize: number;
}

/** The largest unit, up to a page, that all bounds are multiples of: page frames of the map count in it. */
function unitOf(segments: readonly MemorySegment[]): number {
  let unit = PAGE_SIZE;
  for (const { physical, fileSize, memorySize } of segments)
    while (physical % unit !== 0 || fileSize % unit !== 0 || memorySize % unit !== 0) unit /= 2;
  return unit;
}

/** `memory at 0x… to 0x…, …`, of such a segment. */
export function describeBeyond({ physical, memorySize }: MemorySegment): string {
  return `memory at 0x${physical.toString(16)} to 0x${(physical + memorySize).toString(16)} is beyond any machine's`;
}

const ABSENT = absentReasons({
  leftOut: { kind: "excluded", text: "left out of the dump (p_filesz < p_memsz)" },
  truncated: { kind: "truncated", text: "lost: the file ends before it" },
});

/** The first segment whose memory is at addresses that no machine has; undefined where there is none. */
export function beyondAddresses<S extends MemorySegment>(segments: readonly S[]): S | undefined {
  const limit = FRAME_LIMIT * unitOf(segments);
  return segments.find(({ physical, memorySize }) => physical + memorySize > limit);
}

/**
 * The memory that segments of `source` describe; of two that overlap, the later one's contents count.
 * @throws FormatError `guest/frame-range`, see beyondAddresses
 */
export function segmentMemory(source: ByteSource, segments: readonly MemorySegment[]): PageMap {
  const unit = unitOf(segments);
  const beyond = beyondAddresses(segments);
  if (beyond !== undefined)
    throw formatError(GUEST_RULES.frameRange, source.name, { offset: beyond.offset }, describeBeyond(beyond));
  const memory = new PageMap(source, { pageSize: unit });
  // what one header lacks another may have: it is absent where nothing is entered
  for (const { physical, fileSize, memorySize, there } of segments) {
    const frame = (size: number): number => (physical + size) / unit;
    if (memorySize > fileSize)
      memory.announce(frame(fileSize), (memorySize - fileSize) / unit, ABSENT.leftOut);
    const whole = there - (there % unit);
    if (whole < fileSize) memory.announce(frame(whole), (fileSize - whole) / unit, ABSENT.truncated);
  }
  for (const { physical, offset, there } of segments) {
    const count = Math.floor(there / unit);
    if (count > 0) memory.set(physical / unit, count, offset);
  }
  return memory;
}
