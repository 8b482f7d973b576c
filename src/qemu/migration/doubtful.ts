import { DoubtfulRanges, STALE } from "../../guest/doubtful.js";
import type { DoubtfulPart } from "../../guest/salvage.js";
import type { MachineMap } from "./machine/map.js";
import type { RamReader } from "./ram/records.js";
import type { QevmStream } from "./stream.js";

/**
 * Memory of which a lost part of a stream may have held newer copies, in guest-physical bytes: none of a guest that
 * didn't run while its memory was sent.
 * @param isRunning whether the guest ran when it was saved
 */
export function doubtfulMemory(
  { lost, pageSize, sections }: QevmStream,
  ram: RamReader,
  { mappings }: Pick<MachineMap, "mappings">,
  isRunning: boolean,
): DoubtfulPart[] {
  if (lost.length === 0) return [];
  // memory of a background snapshot, whose RAM has no END, is as of its beginning
  const isLive = isRunning && sections.some(({ name, ended }) => name === "ram" && ended);
  const isStale = ram.stale(isLive);
  if (isStale === undefined) return [];
  const found = new DoubtfulRanges(STALE);
  const present = [...ram.index.map.ranges()].filter(({ presence }) => presence !== "absent");
  for (const { start, end, at } of mappings) {
    if (at === undefined) continue;
    const shift = start - at;
    for (const range of present) {
      const to = Math.min(end - shift, range.end);
      for (let place = Math.max(at, range.start); place < to; place += pageSize)
        if (isStale(Math.floor(place / pageSize)))
          found.add(place + shift, Math.min(place + pageSize, to) + shift);
    }
  }
  return found.parts();
}
