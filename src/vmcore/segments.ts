import { absentReasons } from "../guest/absent.js";
import { PAGE_SIZE } from "../guest/memory.js";
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

const ABSENT = absentReasons({
  leftOut: { kind: "excluded", text: "left out of the dump (p_filesz < p_memsz)" },
  truncated: { kind: "truncated", text: "lost: the file ends before it" },
});

/** The memory that segments of `source` describe; of two that overlap, the later one's contents count. */
export function segmentMemory(source: ByteSource, segments: readonly MemorySegment[]): PageMap {
  const unit = unitOf(segments);
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
