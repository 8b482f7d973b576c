import type { AbsentReason } from "../../guest/absent.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { rescueWarnings } from "../../guest/salvage.js";
import { type MemorySegment, segmentMemory } from "../segments.js";
import { architectureNamed, unlabelledGuest } from "../unlabelled.js";
import { limeHeader } from "./layout.js";
import { readRanges } from "./read.js";
import { salvageRanges } from "./salvage.js";

/**
 * Opens the guest of a LiME dump. With `partial`, damaged headers are passed over and reading goes on at the next that is
 * proven. @throws FormatError for an invalid header, unless `partial`
 */
export async function openLimeGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const { partial = false } = options;
  const { ranges, lost } = await readRanges(input);
  if (lost !== undefined && !partial) throw lost;
  const last = ranges.at(-1);
  const isCut = last !== undefined && last.there < last.fileSize;
  if (lost === undefined && !(partial && isCut)) return limeGuest(input, ranges, options);
  const salvaged = await salvageRanges(input);
  const { doubtful, lost: parts } = salvaged;
  const rescue = { lost: parts, doubtful };
  const guest = await limeGuest(input, salvaged.ranges, options);
  const unplaced = salvaged.lost.flatMap(({ start, end, what }) => {
    const size = end - start - limeHeader.size;
    return size <= 0
      ? []
      : [{ name: `the range at 0x${start.toString(16)}`, size, reason: NO_ADDRESS(what) }];
  });
  return {
    ...guest,
    ...(unplaced.length === 0 ? {} : { unplaced }),
    warnings: [...(lost === undefined ? [] : [lost.message]), ...rescueWarnings(rescue), ...guest.warnings],
    rescue,
  };
}

const NO_ADDRESS = (what: string | undefined): AbsentReason => ({
  kind: "damaged",
  text: `lost: ${what ?? "damaged"}`,
});

async function limeGuest(
  input: ByteSource,
  ranges: readonly MemorySegment[],
  { findKernel, raw }: OpenOptions,
): Promise<GuestImage> {
  return unlabelledGuest(
    {
      memory: segmentMemory(input, ranges),
      facts: { origin: "LiME memory dump", source: input.name, more: { ranges: ranges.length } },
      warnings: [],
    },
    "a LiME dump",
    architectureNamed(raw?.arch),
    findKernel,
  );
}
