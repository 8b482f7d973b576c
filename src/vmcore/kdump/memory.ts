import type { MaybePromise } from "../../io/byte-source.js";
import type { CodecName } from "../../io/codecs/codec.js";
import { AbsentError } from "../../findings/errors.js";
import { type AbsentReason, absentReasons } from "../../guest/absent.js";
import { PageMap } from "../../guest/page-map.js";
import { COMPRESSION_FLAGS } from "./layout.js";
import { codecOf, type Descriptor, isPossible, KdumpPages } from "./pages.js";
import type { FrameRun, KdumpFile } from "./read.js";
import { KDUMP_RULES } from "./rules.js";
import { type Span, SpanList } from "../../guest/spans.js";
import { TableWatch } from "./table.js";

/** Pages of a dump by what became of them, and the bytes their contents take in the file. */
export interface KdumpCounts {
  dumped: number;
  excluded: number;
  lost: number;
  damaged: number;
  otherPart: number;
  /** Pages by the compression of their own: `none`, `zlib` … */
  readonly byCompression: Record<string, number>;
}

export const COMPRESSION_BY_FLAG: ReadonlyMap<number, string> = new Map([
  [0, "none"],
  ...Object.entries(COMPRESSION_FLAGS).map(([name, flag]): [number, string] => [flag, name]),
]);
const HIGHEST_FLAG = Array.from(COMPRESSION_BY_FLAG.keys()).reduce((most, flag) => Math.max(most, flag), 0);

const ABSENT = absentReasons({
  lost: { kind: "truncated", text: "lost: the dump is incomplete" },
  size: { kind: "damaged", text: "damaged: its descriptor has an impossible size" },
  compression: { kind: "damaged", text: "damaged: its compression is unknown" },
  order: { kind: "damaged", text: "damaged: its descriptor is not in the order of the others" },
  bitmap: { kind: "damaged", text: "damaged: which pages are in the dump is lost" },
  otherPart: { kind: "elsewhere", text: "not in this part of a split dump" },
});

/** Spans of damaged descriptors of one file that are told apart. */
const MOST_DAMAGED = 256;

/** Frames that no bitmap can be believed of, and how many descriptors are theirs; `end` exclusive. */
export interface UnknownFrames {
  readonly start: number;
  readonly end: number;
  readonly descriptors: number;
}

/** What a salvage found out of a dump that is damaged. */
export interface KdumpDoubts {
  /** By number in the whole dump; ascending, disjoint. */
  readonly descriptors: readonly Span[];
  /** Ascending, disjoint. */
  readonly frames: readonly UnknownFrames[];
}

const NO_DOUBTS: KdumpDoubts = { descriptors: [], frames: [] };

/** What the descriptors of one file showed while they were read. */
export interface PartSurvey {
  readonly file: KdumpFile;
  readonly pages: KdumpPages;
  readonly watch: TableWatch;
  /** Descriptors that the bitmap promises. */
  promised: number;
  /** Of those, pages that bitmap 1 denies. */
  undeclared: number;
  /** Descriptors that are damaged, by number in the whole dump. */
  readonly damaged: SpanList;
}

/** Turns runs of the bitmaps into a map of pages; a page's token is the number of its descriptor in the whole dump. */
export class MemoryBuilder {
  readonly memory: PageMap;
  readonly counts: KdumpCounts = {
    dumped: 0,
    excluded: 0,
    lost: 0,
    damaged: 0,
    otherPart: 0,
    byCompression: {},
  };
  readonly #file: KdumpFile;
  readonly #files: readonly KdumpFile[];
  readonly #parts: PartSurvey[] = [];
  readonly #doubts: KdumpDoubts;
  readonly #flags = new Set<number>();
  /** Pages by their descriptors' flags: numbers, as there is one a page. */
  readonly #byFlags = new Float64Array(1 + HIGHEST_FLAG);
  readonly #excluded: AbsentReason;
  #token = 0;
  /** Places in the lists of doubts. */
  #unknown = 0;
  #bad = 0;

  constructor(file: KdumpFile, sorted: readonly KdumpFile[], doubts: KdumpDoubts = NO_DOUBTS) {
    this.#file = file;
    this.#doubts = doubts;
    this.#files = sorted;
    this.#excluded = { kind: "excluded", text: `excluded by dump level ${file.subHeader.dump_level}` };
    this.memory = new PageMap(file.source, {
      pageSize: file.blockSize,
      decode: (token, into) => this.pagesOf(token).read(token, into),
    });
  }

  /** Enters a run of the bitmaps; runs come in ascending order. */
  add({ first, count, kind }: FrameRun): MaybePromise<void> {
    if (kind === "excluded") this.#exclude(first, count);
    else return this.#dumped(first, count, kind === "undeclared");
  }

  /** What the descriptors of each file showed, once all runs are entered. */
  get parts(): readonly PartSurvey[] {
    return this.#parts.filter((part) => part !== undefined);
  }

  #exclude(first: number, count: number): void {
    this.counts.excluded += count;
    this.memory.absent(first, count, this.#excluded);
    for (const { start, end } of this.#doubts.frames) {
      const [from, to] = [Math.max(first, start), Math.min(first + count, end)];
      if (from >= to) continue;
      this.memory.absent(from, to - from, ABSENT.bitmap);
      this.counts.excluded -= to - from;
      this.counts.damaged += to - from;
    }
  }

  /** Passes over the descriptors of unknown frames before `frame`. */
  #passUnknown(frame: number): void {
    const { frames } = this.#doubts;
    for (
      let next = frames[this.#unknown];
      next !== undefined && next.end <= frame;
      next = frames[this.#unknown]
    ) {
      const { start, descriptors } = next;
      const part = this.#files.findIndex((file) => file.firstFrame <= start && start < file.endFrame);
      const file = this.#files[part];
      if (file !== undefined) this.#part(part, file).promised += descriptors;
      this.#token += descriptors;
      this.#unknown += 1;
    }
  }

  #part(index: number, file: KdumpFile): PartSurvey {
    return (this.#parts[index] ??= {
      file,
      pages: new KdumpPages(file, this.#token),
      watch: new TableWatch(file.blockSize),
      promised: 0,
      undeclared: 0,
      damaged: new SpanList(MOST_DAMAGED),
    });
  }

  /** A run of set bits in bitmap 2: cut to the parts that can have its descriptors. */
  #dumped(first: number, count: number, isUndeclared: boolean): MaybePromise<void> {
    this.#passUnknown(first);
    const end = first + count;
    let waiting: Promise<void> | undefined;
    for (let frame = first; frame < end; ) {
      const part = this.#files.findIndex((file) => file.firstFrame <= frame && frame < file.endFrame);
      const file = this.#files[part];
      if (file === undefined) {
        const next = this.#files.find((other) => other.firstFrame > frame)?.firstFrame ?? end;
        const gap = Math.min(next, end) - frame;
        this.memory.absent(frame, gap, ABSENT.otherPart);
        this.counts.otherPart += gap;
        this.#token += gap;
        frame += gap;
        continue;
      }
      const here = Math.min(file.endFrame, end) - frame;
      const seen = this.#part(part, file);
      seen.promised += here;
      if (isUndeclared) seen.undeclared += here;
      const [from, token] = [frame, this.#token];
      this.memory.decoded(from, here, token);
      this.#token += here;
      frame += here;
      if (waiting !== undefined) waiting = waiting.then(() => this.#check(seen, from, here, token));
      else {
        const checked = this.#check(seen, from, here, token);
        if (checked instanceof Promise) waiting = checked;
      }
    }
    return waiting;
  }

  /** Looks at the descriptors of a run: what can't be there is absent. */
  #check(part: PartSurvey, first: number, count: number, token: number): MaybePromise<void> {
    const { pages } = part;
    const there = Math.min(count, Math.max(0, pages.endToken - token));
    if (there < count) {
      this.memory.absent(first + there, count - there, ABSENT.lost);
      this.counts.lost += count - there;
    }
    for (let i = 0; i < there; i += 1) {
      const found = pages.descriptor(token + i);
      if (found instanceof Promise) {
        const at = i;
        return found.then((descriptor) => {
          this.#classify(part, first + at, token + at, descriptor);
          return this.#check(part, first + at + 1, there - at - 1, token + at + 1);
        });
      }
      this.#classify(part, first + i, token + i, found);
    }
  }

  #classify(part: PartSurvey, frame: number, token: number, descriptor: Descriptor): void {
    const { file, pages, watch } = part;
    if (isPossible(file, descriptor)) watch.see(descriptor);
    const fault = this.#isBad(token) ? "order" : pages.fault(descriptor);
    if (fault !== undefined) {
      this.memory.absent(frame, 1, ABSENT[fault]);
      // zeros are what a writer without space left behind; elsewhere something took the descriptor
      const isZeros = descriptor.offset === 0 && descriptor.size === 0;
      if (fault === "lost" ? isZeros && !file.isIncomplete : true) part.damaged.add(token, token + 1);
      if (fault === "lost") this.counts.lost += 1;
      else this.counts.damaged += 1;
      return;
    }
    this.counts.dumped += 1;
    // a descriptor without fault has one of these flags
    this.#byFlags[descriptor.flags] = (this.#byFlags[descriptor.flags] ?? 0) + 1;
    pages.note(descriptor);
  }

  /** Whether a descriptor is among those that can't be believed; asked in ascending order. */
  #isBad(token: number): boolean {
    const { descriptors } = this.#doubts;
    while ((descriptors[this.#bad]?.end ?? Number.POSITIVE_INFINITY) <= token) this.#bad += 1;
    return token >= (descriptors[this.#bad]?.start ?? Number.POSITIVE_INFINITY);
  }

  /** Makes pages ready to be read. */
  async finish(): Promise<void> {
    for (const [flags, name] of COMPRESSION_BY_FLAG) {
      const count = this.#byFlags[flags] ?? 0;
      if (count === 0) continue;
      this.#flags.add(flags);
      this.counts.byCompression[name] = count;
    }
    for (const { pages } of this.parts) {
      await pages.load(this.#flags);
      await pages.findShared();
    }
  }

  /** The part that has a page's descriptor. */
  pagesOf(token: number): KdumpPages {
    let part: KdumpPages | undefined;
    // a part that isn't here leaves a hole
    for (const seen of this.#parts)
      if (seen !== undefined && seen.pages.firstToken <= token) part = seen.pages;
    if (part !== undefined) return part;
    throw new AbsentError(KDUMP_RULES.lost, "no part of the dump has the page", { source: this.#file.name });
  }

  /** Compressions of the pages. */
  get codecs(): readonly CodecName[] {
    return Array.from(this.#flags).flatMap((flags) => codecOf(flags) ?? []);
  }
}
