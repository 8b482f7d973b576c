import { DoubtfulRanges, STALE, STALE_IF_RUN } from "../../guest/doubtful.js";
import type { DoubtfulPart } from "../../guest/salvage.js";
import type { MachineMap } from "./machine/map.js";
import type { RamReader } from "./ram/records.js";
import type { QevmStream } from "./stream.js";

const SHIFTED = "is shifted if bytes are missing from its record or were inserted: no record follows it";

/** What may be older than the guest's last state: which frames, and why. */
interface Stale {
  readonly why: string;
  readonly isStale: (frame: number) => boolean;
}

/**
 * Memory of which a lost part of a stream may have held newer copies, and pages that may be shifted, in guest-physical
 * bytes: no older ones of a guest that didn't run while its memory was sent.
 * @param runState what the guest did when it was saved: `running`; undefined: not known
 * @param isPausedFirst whether who saves a guest pauses it before, as far as nothing shows otherwise
 */
export function doubtfulMemory(
  stream: QevmStream,
  ram: RamReader,
  { mappings }: Pick<MachineMap, "mappings">,
  { runState, isPausedFirst = false }: { runState: string | undefined; isPausedFirst?: boolean | undefined },
): DoubtfulPart[] {
  const { pageSize } = stream;
  const old = staleOf(stream, ram, runState, isPausedFirst);
  const { shifted } = ram;
  if (old === undefined && shifted.size === 0) return [];
  const [found, moved] = [new DoubtfulRanges(old?.why ?? STALE), new DoubtfulRanges(SHIFTED)];
  const present = [...ram.index.map.ranges()].filter(({ presence }) => presence !== "absent");
  for (const { start, end, at } of mappings) {
    if (at === undefined) continue;
    const shift = start - at;
    for (const range of present) {
      const to = Math.min(end - shift, range.end);
      for (let place = Math.max(at, range.start); place < to; place += pageSize) {
        const frame = Math.floor(place / pageSize);
        const [first, next] = [place + shift, Math.min(place + pageSize, to) + shift];
        if (old?.isStale(frame) === true) found.add(first, next);
        if (shifted.has(frame)) moved.add(first, next);
      }
    }
  }
  return [...found.parts(), ...moved.parts()];
}

function staleOf(
  stream: QevmStream,
  ram: RamReader,
  runState: string | undefined,
  isPausedFirst: boolean,
): Stale | undefined {
  const isEnded = stream.sections.some(({ name, ended }) => name === "ram" && ended);
  if (isCutInMemory(stream, ram)) {
    const isKnown = ram.isAgain;
    if (!isKnown && isPausedFirst) return undefined;
    return { why: isKnown ? STALE : STALE_IF_RUN, isStale: () => true };
  }
  if (stream.lost.length === 0) return undefined;
  // memory of a background snapshot, whose RAM has no END, is as of its beginning
  const isStale = ram.stale(runState === "running" && isEnded);
  return isStale && { why: STALE, isStale };
}

/** Whether a stream ends, or can't be read on, before its memory does. */
export function isCutInMemory({ complete, sections, configuration }: QevmStream, ram: RamReader): boolean {
  // a mapped-ram file has one place for each page
  if (complete || configuration.capabilities.includes("mapped-ram")) return false;
  const { offset } = ram.last;
  return sections.every(({ name, type, ended, offset: at }) =>
    name === "ram" ? !ended : type !== "FULL" || at < offset,
  );
}
