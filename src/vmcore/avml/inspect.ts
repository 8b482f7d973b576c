import type { OpenOptions } from "../../guest/options.js";
import { Report } from "../../findings/report.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { summarizeGuest } from "../../guest/summary.js";
import type { ByteSource } from "../../io/byte-source.js";
import { guestOf } from "./guest.js";
import { readDump } from "./read.js";

/** What `inspect` says of a compressed AVML dump. */
export type AvmlInspection = GuestInspection<"avml", { readonly ranges: number; readonly chunks: number }>;

/** Describes a compressed AVML dump. */
export async function inspectDump(source: ByteSource, options: OpenOptions = {}): Promise<AvmlInspection> {
  const report = new Report(source.name);
  const dump = await readDump(source, report);
  return {
    schemaVersion: 2,
    kind: "avml",
    source: source.name,
    ...(await summarizeGuest(await guestOf(source, dump, report, options), options)),
    damage: [],
    details: { ranges: dump.blocks.length, chunks: dump.chunks.count },
  };
}
