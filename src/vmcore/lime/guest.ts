import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { segmentMemory } from "../segments.js";
import { unlabelledGuest } from "../unlabelled.js";
import { type LimeRanges, readRanges } from "./read.js";

/** Opens the guest of a LiME dump. @throws FormatError for an invalid header, unless `partial` */
export async function openLimeGuest(
  input: ByteSource,
  { partial = false }: Pick<OpenOptions, "partial">,
): Promise<GuestImage> {
  return guestOf(input, await readRanges(input), partial);
}

/** The model of a dump whose ranges are read. */
export async function guestOf(
  input: ByteSource,
  { ranges, lost }: LimeRanges,
  partial: boolean,
): Promise<GuestImage> {
  if (lost !== undefined && !partial) throw lost;
  return unlabelledGuest(
    {
      memory: segmentMemory(input, ranges),
      facts: { origin: "LiME memory dump", source: input.name, more: { ranges: ranges.length } },
      warnings: lost === undefined ? [] : [lost.message],
    },
    "a LiME dump",
  );
}
