import type { OpenOptions } from "../../guest/options.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { summarizeGuest } from "../../guest/summary.js";
import type { ByteSource } from "../../io/byte-source.js";
import { openLimeGuest } from "./guest.js";
import { readRanges } from "./read.js";

/** What `inspect` says of a LiME dump. */
export type LimeInspection = GuestInspection<"lime", { readonly ranges: number }>;

/** Describes a LiME dump. */
export async function inspectLime(input: ByteSource, options: OpenOptions = {}): Promise<LimeInspection> {
  const found = await readRanges(input);
  return {
    schemaVersion: 2,
    kind: "lime",
    source: input.name,
    ...(await summarizeGuest(await openLimeGuest(input, { ...options, partial: true }), options)),
    damage: [],
    details: { ranges: found.ranges.length },
  };
}
