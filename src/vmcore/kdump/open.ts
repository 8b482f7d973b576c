import { appendTo } from "../../binary/arrays.js";
import { formatError } from "../../findings/diagnostics.js";
import { FormatError } from "../../findings/errors.js";
import type { OpenOptions } from "../../guest/options.js";
import type { PageMap } from "../../guest/page-map.js";
import type { DoubtfulPart, LostPart } from "../../guest/salvage.js";
import type { CodecName } from "../../io/codecs/codec.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { isZero, wordsOf } from "../../io/zeros.js";
import { FlattenedSource, isFlattened } from "./flattened.js";
import { salvageRecords } from "./flattened-salvage.js";
import { erasedWarning } from "../notes.js";
import { repairBitmaps } from "./bitmaps.js";
import { flattenedRecord, pageDescriptor } from "./layout.js";
import {
  type KdumpCounts,
  type KdumpDoubts,
  MemoryBuilder,
  type PartSurvey,
  type UnknownFrames,
} from "./memory.js";
import { isPossible, type KdumpPages } from "./pages.js";
import { KdumpFile } from "./read.js";
import { GEOMETRY, rebuildHeaders } from "./rebuild.js";
import { KDUMP_RULES } from "./rules.js";
import { type Span, SpanList } from "../../guest/spans.js";
import { splitSiblings } from "./split.js";
import { surveyTable } from "./table.js";

/** A kdump opened with all parts at hand: headers, counts and memory. */
export interface OpenKdump {
  /** The file that was named, then the other parts. */
  readonly files: readonly KdumpFile[];
  readonly memory: PageMap;
  /** The descriptors and contents that a token of the map is among. */
  readonly pagesOf: (token: number) => KdumpPages;
  /** Compressions of the pages. */
  readonly codecs: readonly CodecName[];
  readonly counts: KdumpCounts;
  readonly warnings: readonly string[];
  /** What damage took; empty for a whole dump. */
  readonly lost: readonly LostPart[];
  /** Memory that may have other bytes than the guest had. */
  readonly doubtful: readonly DoubtfulPart[];
}

/** Times that a dump is read anew with what was mended. */
const MOST_ROUNDS = 2;
/** Places in the file at which one kind of its parts is lost. */
const MOST_PLACES = 256;
const PARTIAL = { option: "partial", effect: "takes what is intact" };

/**
 * Reads headers, bitmaps and descriptors of a dump and its other parts. Page contents stay where they are. With `partial`,
 * damaged headers and bitmaps are made anew from what agrees; descriptors out of order lose their pages at any rate.
 * @throws FormatError for damage that pages can't be told apart after, unless `partial`
 */
export async function openKdump(input: ByteSource, options: OpenOptions): Promise<OpenKdump> {
  return new Opening(input, options).open();
}

class Opening {
  readonly #input: ByteSource;
  readonly #options: OpenOptions;
  readonly #warnings: string[] = [];
  readonly #lost: LostPart[] = [];
  #siblings: readonly KdumpFile[] = [];

  constructor(input: ByteSource, options: OpenOptions) {
    this.#input = input;
    this.#options = options;
  }

  async open(): Promise<OpenKdump> {
    let file = await this.#openFile();
    if (file.isSplit) this.#siblings = await splitSiblings(file, this.#options, this.#warnings);
    let frames: readonly UnknownFrames[] = [];
    // headers are made anew once, bitmaps once
    for (let round = 0; ; round += 1) {
      const built = await this.#build(file, { descriptors: [], frames });
      const descriptors: Span[] = [];
      let mended = round === 0 && built.parts.length === 0 ? await this.#rebuilt(file) : undefined;
      for (const part of built.parts) {
        if (await isInOrder(part)) {
          if (part.undeclared > 0 && frames.length === 0) mended ??= await this.#compare(part);
          continue;
        }
        const { count, bad } = await surveyTable(part.file, part.pages);
        // descriptors at the end of a part may be damaged
        const isShort = part.file.isSplit && (count ?? 0) < part.promised;
        const known = isShort ? undefined : count;
        if (known !== part.promised && round < MOST_ROUNDS) mended ??= await this.#mend(part, known);
        appendTo(descriptors, bad);
      }
      if (mended === undefined && descriptors.length === 0) return await this.#finish(built);
      if (mended === undefined) return await this.#finish(await this.#build(file, { descriptors, frames }));
      ({ file, frames } = mended);
    }
  }

  /** Headers as they are, or made anew. */
  async #openFile(): Promise<KdumpFile> {
    const problems: FormatError[] = [];
    const onProblem = (error: FormatError): void => void problems.push(error);
    const { partial = false } = this.#options;
    let failure: FormatError | undefined;
    try {
      const file = await KdumpFile.open(this.#input, onProblem);
      const { complete = true, overlaps = 0, trailing = 0 } = file.flattened ?? {};
      const isSuspect = !complete || overlaps + trailing > 0;
      if (!partial || !isSuspect) {
        appendTo(
          this.#warnings,
          problems.map((error) => error.message),
        );
        return file;
      }
    } catch (error) {
      if (!partial || !(error instanceof FormatError)) throw error;
      failure = error;
      this.#warnings.push(error.message);
    }
    return this.#salvageFile(failure, onProblem).finally(() =>
      appendTo(
        this.#warnings,
        problems.map((error) => error.message),
      ),
    );
  }

  /** A flattened file by the records that are left, and headers made anew where they can't be read. */
  async #salvageFile(
    failure: FormatError | undefined,
    onProblem: (error: FormatError) => void,
  ): Promise<KdumpFile> {
    const input = this.#input;
    const head = new Uint8Array(16);
    const isFlat = isFlattened(head.subarray(0, await readFully(input, 0, head)));
    let flattened: FlattenedSource | undefined;
    if (isFlat) {
      const salvaged = await salvageRecords(input);
      appendTo(this.#lost, salvaged.lost);
      flattened = FlattenedSource.from(input, salvaged);
      try {
        return await KdumpFile.read({ input, flattened, source: flattened }, onProblem);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        failure ??= error;
      }
    }
    const rebuilt = await rebuildHeaders(input, flattened);
    if (rebuilt === undefined)
      throw (
        failure ?? formatError(KDUMP_RULES.header, input.name, { offset: 0 }, "no table of pages is found")
      );
    this.#noteHeaders(rebuilt.file, rebuilt.changed, rebuilt.isProven);
    return rebuilt.file;
  }

  /** A dump without any page by its headers: what they are when they can be made anew. */
  async #rebuilt({ flattened }: KdumpFile): Promise<Mended | undefined> {
    if (this.#options.partial !== true) return undefined;
    const rebuilt = await rebuildHeaders(this.#input, flattened);
    if (rebuilt?.isProven !== true || rebuilt.changed.length === 0) return undefined;
    this.#noteHeaders(rebuilt.file, rebuilt.changed, true);
    return { file: rebuilt.file, frames: [] };
  }

  /** Enters what the bitmaps say. */
  async #build(file: KdumpFile, doubts?: KdumpDoubts): Promise<Built> {
    const files = [file, ...this.#siblings];
    const sorted = files.toSorted((a, b) => a.firstFrame - b.firstFrame);
    const builder = new MemoryBuilder(file, sorted, doubts);
    for await (const run of file.runs()) {
      const done = builder.add(run);
      if (done instanceof Promise) await done;
      this.#options.progress?.(run.first, file.frames, "bitmaps");
    }
    await builder.finish();
    return { file, files, builder, parts: builder.parts };
  }

  /**
   * Headers or bitmaps under which a file has as many pages as descriptors; undefined: what is there is the best there is.
   * @throws FormatError unless `partial`
   */
  async #mend({ file, promised }: PartSurvey, count: number | undefined): Promise<Mended | undefined> {
    const descriptors = count === undefined ? "no descriptors that lead to them" : `${count} descriptors`;
    const message = `the bitmaps have ${promised} pages, and there are ${descriptors}`;
    const place = { offset: file.bitmapOffset + file.bitmapSize };
    const isOwn = file.input === this.#input;
    if (this.#options.partial !== true || !isOwn) {
      if (count === undefined) return undefined;
      throw formatError(KDUMP_RULES.count, file.name, place, message, isOwn ? PARTIAL : undefined);
    }
    const rebuilt = await rebuildHeaders(this.#input, file.flattened);
    // a table where the header says that it is leaves the header's word for where the bitmaps are
    const isKept = count === undefined || rebuilt?.changed.some((name) => GEOMETRY.has(name)) === false;
    if (rebuilt?.isProven === true && isKept && rebuilt.changed.length > 0) {
      this.#warnings.push(`damaged: ${message}`);
      this.#noteHeaders(rebuilt.file, rebuilt.changed, true);
      return { file: rebuilt.file, frames: [] };
    }
    if (count === undefined) return undefined;
    const repaired = await repairBitmaps(file, count);
    if (repaired === undefined) throw formatError(KDUMP_RULES.count, file.name, place, message);
    this.#warnings.push(`damaged: ${message}`);
    this.#noteBitmaps(file, repaired.what);
    return { file: repaired.file, frames: repaired.unknown };
  }

  /** Bitmaps that contradict each other, of as many pages as there are descriptors: what they agree on. */
  async #compare({ file, promised }: PartSurvey): Promise<Mended | undefined> {
    if (file.input !== this.#input) return undefined;
    const repaired = await repairBitmaps(file, promised);
    if (repaired === undefined || repaired.unknown.length === 0) return undefined;
    this.#noteBitmaps(file, repaired.what);
    return { file: repaired.file, frames: repaired.unknown };
  }

  #noteBitmaps(file: KdumpFile, what: string): void {
    const { bitmapOffset, bitmapSize } = file;
    this.#note(file, [{ start: bitmapOffset, end: bitmapOffset + 2 * bitmapSize }], what);
  }

  #noteHeaders(file: KdumpFile, changed: readonly string[], isProven: boolean): void {
    const sure = isProven
      ? "as many pages in the bitmaps as descriptors prove them"
      : "nothing proves them but the descriptors they lead to";
    const what = `headers made anew (${changed.join(", ")}): ${sure}`;
    this.#note(file, [{ start: 0, end: file.bitmapOffset }], what);
  }

  /** Notes where the damaged descriptors of the file that was named are. */
  #noteDescriptors({ file, pages, damaged }: PartSurvey): void {
    if (file.input !== this.#input) return;
    const offset = (token: number): number =>
      file.descriptorOffset + (token - pages.firstToken) * pageDescriptor.size;
    const spans = damaged.spans().map(({ start, end }) => ({ start: offset(start), end: offset(end) }));
    if (spans.length > 0) this.#note(file, spans, "descriptors of pages");
  }

  /** Notes that bytes of the plain file are lost. */
  #note({ flattened }: KdumpFile, parts: readonly Span[], what: string): void {
    const places = new SpanList(MOST_PLACES, flattened === undefined ? 0 : flattenedRecord.size);
    for (const { start, end } of parts)
      for (const place of flattened?.inputSpans(start, end) ?? [{ start, end }])
        places.add(place.start, place.end);
    const nowhere = { start: this.#input.size, end: this.#input.size };
    const spans = places.spans();
    for (const place of spans.length === 0 ? [nowhere] : spans) this.#lost.push({ ...place, proof: 0, what });
  }

  async #finish({ file, files, builder, parts }: Built): Promise<OpenKdump> {
    const { counts, memory } = builder;
    const doubtful: DoubtfulPart[] = [];
    for (const part of parts) {
      const surplus = await surplusOf(part);
      const [start, end] = [part.file.firstFrame, part.file.endFrame].map((frame) => frame * file.blockSize);
      if (surplus > 0)
        doubtful.push({ start: start ?? 0, end: end ?? 0, why: `may be shifted: ${surplusText(surplus)}` });
    }
    for (const part of parts) this.#noteDescriptors(part);
    const warnings = this.#warnings;
    for (const line of file.erased) warnings.push(erasedWarning(line));
    if (counts.lost > 0) warnings.push(`${counts.lost} pages that the dump should hold are lost`);
    if (counts.damaged > 0) warnings.push(`${counts.damaged} pages have damaged descriptors`);
    if (file.isIncomplete) warnings.push("its writer ran out of space and marked the dump as incomplete");
    if (file.flattened?.complete === false) warnings.push("the flattened form ends without its end marker");
    if (counts.otherPart > 0)
      warnings.push(`${counts.otherPart} pages are in parts of a split dump that are not here`);
    const pagesOf = (token: number): KdumpPages => builder.pagesOf(token);
    return { files, memory, pagesOf, codecs: builder.codecs, counts, warnings, lost: this.#lost, doubtful };
  }
}

/** A dump whose parts fit one another again. */
interface Mended {
  readonly file: KdumpFile;
  readonly frames: readonly UnknownFrames[];
}

interface Built {
  readonly file: KdumpFile;
  readonly files: readonly KdumpFile[];
  readonly builder: MemoryBuilder;
  readonly parts: readonly PartSurvey[];
}

/** What bytes after the contents of the last page say. */
export const surplusText = (surplus: number): string =>
  `${surplus} bytes follow the contents of the last page, which may have been inserted before`;

/** Bytes after the contents of the last page, when they aren't zeros that a file is padded with. */
export async function surplusOf({ file, watch }: Pick<PartSurvey, "file" | "watch">): Promise<number> {
  const { source, subHeader } = file;
  const surplus = source.size - watch.end;
  // a writer that ran out of space had written contents whose descriptors it didn't
  if (file.isIncomplete || watch.end === 0 || surplus <= 0 || subHeader.offset_eraseinfo >= watch.end)
    return 0;
  const last = new Uint8Array(Math.min(surplus, file.blockSize));
  await readFully(source, source.size - last.length, last);
  return isZero(last, wordsOf(last)) ? 0 : surplus;
}

/** Whether descriptors follow one another and are as many as the bitmaps promise. */
export async function isInOrder({
  file,
  pages,
  watch,
  promised,
}: Omit<PartSurvey, "damaged">): Promise<boolean> {
  const { low, breaks } = watch;
  if (breaks > 0) return false;
  const end = file.descriptorOffset + promised * pageDescriptor.size;
  if (low === end || promised === 0) return true;
  if (low < end || low === Number.MAX_SAFE_INTEGER) return false;
  const next = await pages.descriptor(pages.firstToken + promised);
  return !isPossible(file, next);
}
