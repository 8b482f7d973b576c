import { type ByteOrder, latin1, viewOf } from "../../binary/layout.js";
import { patchedSource, Resynchronizer } from "../../guest/salvage.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { countBits } from "./bitmaps.js";
import {
  COMPRESSION_FLAGS,
  DISKDUMP_SIGNATURE,
  type Header,
  header64,
  headerLayout,
  HEADER_VERSION,
  KDUMP_SIGNATURE,
  type KdumpForm,
  pageDescriptor,
  type SubHeader,
  subHeader32,
  subHeader32Aligned,
  subHeader64,
} from "./layout.js";
import type { FlattenedSource } from "./flattened.js";
import { isBlockSize, KdumpFile } from "./read.js";

/*
 * What the headers say can be known from the rest: descriptors are found by what they look like and by following one
 * another, and there are as many as bitmap 2 has bits set. Each number of the headers is tried, then what it can be
 * otherwise; the first combination that fits both is taken.
 */

const SIZE = pageDescriptor.size;
const FLAGS: ReadonlySet<number> = new Set([0, ...Object.values(COMPRESSION_FLAGS)]);
/** Descriptors looked at where a table may begin. */
const SAMPLE = 64;
/** Blocks that headers and notes may take where no number says it. */
const MOST_HEADER_BLOCKS = 64;
/** Bytes of bitmaps and places of tables that are looked at: bounds the time a hostile input takes. */
const MOST_LOOKED_AT = 2 ** 30;
const BLOCK_SIZES = [
  4096, 65_536, 16_384, 8192, 32_768, 2048, 1024, 512, 131_072, 262_144, 524_288, 1_048_576,
];
const SUB_LAYOUTS = { 64: [subHeader64], 32: [subHeader32, subHeader32Aligned] } as const;

/** Numbers that say where bitmaps and descriptors are; without the number of bits as a proof only the header is believed. */
export const GEOMETRY: ReadonlySet<string> = new Set(["block_size", "sub_hdr_size", "bitmap_blocks"]);

/** A dump whose headers were made anew. */
export interface RebuiltDump {
  readonly file: KdumpFile;
  /** Names of the numbers that are others than the headers say. */
  readonly changed: readonly string[];
  /** Whether the number of bits proves it. */
  readonly isProven: boolean;
}

/** Where a dump's parts may be. */
interface Geometry {
  readonly form: KdumpForm;
  readonly blockSize: number;
  readonly subBlocks: number;
  readonly bitmapBlocks: number;
}

/** Numbers of a sub-header, as far as they can be any. */
type Numbers = Partial<Record<keyof SubHeader, number>>;

/** Finds out where the parts of a dump are whose headers are damaged; undefined: its table of descriptors isn't found. */
export async function rebuildHeaders(
  input: ByteSource,
  flattened: FlattenedSource | undefined,
): Promise<RebuiltDump | undefined> {
  const source = flattened ?? input;
  const search = new GeometrySearch(source);
  let proven: Answer | undefined;
  let unproven: Answer | undefined;
  for await (const geometry of search.candidates()) {
    const answer = await search.weigh(geometry);
    if (answer === undefined) continue;
    const isStated = !answer.changed.some((name) => GEOMETRY.has(name));
    if (answer.isProven && !answer.isDenied) return finish(input, flattened, answer);
    if (answer.isProven) proven ??= answer;
    if (isStated) unproven ??= answer;
    unproven ??= answer;
  }
  const best = proven ?? unproven;
  return best === undefined ? undefined : finish(input, flattened, best);
}

interface Answer {
  readonly geometry: Geometry;
  readonly header: Header;
  readonly sub: SubHeader;
  readonly frames: number;
  readonly changed: readonly string[];
  readonly isProven: boolean;
  /** Whether bitmap 1 denies pages of bitmap 2: it is damaged, or both are elsewhere. */
  readonly isDenied: boolean;
}

async function finish(
  input: ByteSource,
  flattened: FlattenedSource | undefined,
  { geometry, header, sub, changed, isProven }: Answer,
): Promise<RebuiltDump> {
  const { bits, order } = geometry.form;
  const [subLayout] = SUB_LAYOUTS[bits];
  // an older form is shorter, and notes follow it at once
  const end = sub.offset_note > geometry.blockSize ? sub.offset_note - geometry.blockSize : undefined;
  const source = patchedSource(flattened ?? input, [
    { offset: 0, bytes: headerLayout(bits).encode(header, order) },
    { offset: geometry.blockSize, bytes: subLayout.encode(sub, order).subarray(0, end) },
  ]);
  // notes that can't be read are said of the file as it is
  const file = await KdumpFile.read({ input, flattened, source }, () => undefined);
  return { file, changed, isProven };
}

class GeometrySearch {
  readonly #source: ByteSource;
  readonly #head = new Uint8Array(header64.size);
  #left = MOST_LOOKED_AT;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Geometries whose table begins where descriptors are, the most likely first. */
  async *candidates(): AsyncIterable<Geometry> {
    await readFully(this.#source, 0, this.#head);
    const tried = new Set<string>();
    const fresh = (geometry: Geometry): boolean => {
      const key = JSON.stringify(geometry);
      return !tried.has(key) && tried.add(key).size > 0;
    };
    const forms = this.#forms();
    for (const form of forms)
      for (const geometry of await this.#stated(form))
        if (fresh(geometry) && (await this.#isTable(descriptorsOf(geometry), geometry))) yield geometry;
    // no number leads to a table: look for one
    for (const order of new Set(forms.map((form) => form.order))) {
      const at = await this.#findTable(order);
      if (at === undefined) continue;
      for (const form of forms.filter((other) => other.order === order))
        for (const geometry of this.#dividing(form, at))
          if (fresh(geometry) && (await this.#isTable(at, geometry))) yield geometry;
    }
  }

  /** Byte orders and widths, those first that the header's numbers make sense in. */
  #forms(): readonly KdumpForm[] {
    const sense = ({ bits, order }: KdumpForm): number => {
      const { block_size, sub_hdr_size, bitmap_blocks, header_version, max_mapnr } = headerLayout(
        bits,
      ).decode(this.#head, order);
      const signs = [
        header_version > 0 && header_version <= HEADER_VERSION,
        isBlockSize(block_size),
        sub_hdr_size > 0 && sub_hdr_size <= MOST_HEADER_BLOCKS,
        bitmap_blocks > 0 && bitmap_blocks * 512 <= this.#source.size,
        max_mapnr > 0 && max_mapnr <= bitmap_blocks * block_size * 4,
      ];
      return signs.filter((sign) => sign).length;
    };
    const forms = (["little", "big"] as const).flatMap((order) =>
      ([64, 32] as const).map((bits): KdumpForm => ({ bits, order })),
    );
    return forms
      .map((form) => ({ form, sense: sense(form) }))
      .sort((a, b) => b.sense - a.sense)
      .map(({ form }) => form);
  }

  /** Geometries from what headers say, each number by itself. */
  async #stated(form: KdumpForm): Promise<readonly Geometry[]> {
    const header = headerLayout(form.bits).decode(this.#head, form.order);
    const sizes = new Set(isBlockSize(header.block_size) ? [header.block_size, ...BLOCK_SIZES] : BLOCK_SIZES);
    const found: Geometry[] = [];
    for (const blockSize of sizes) {
      const subs = await this.#subHeaders(form, blockSize);
      const subBlocks = new Set([
        header.sub_hdr_size,
        ...subs.map((sub) => blocksOfNotes(sub, blockSize)),
        1,
        2,
        3,
        4,
      ]);
      const bitmapBlocks = new Set([
        header.bitmap_blocks,
        ...[...subs.map((sub) => sub.max_mapnr_64 ?? 0), header.max_mapnr].map(
          (frames) => 2 * Math.ceil(Math.ceil(frames / 8) / blockSize),
        ),
      ]);
      for (const sub of subBlocks)
        for (const bitmap of bitmapBlocks) {
          const geometry = { form, blockSize, subBlocks: sub, bitmapBlocks: bitmap };
          const isPossible = sub > 0 && bitmap > 1 && bitmap % 2 === 0;
          if (isPossible && descriptorsOf(geometry) + SIZE <= this.#source.size) found.push(geometry);
        }
    }
    return found;
  }

  /** Geometries with a table at an offset. */
  *#dividing(form: KdumpForm, at: number): Iterable<Geometry> {
    const header = headerLayout(form.bits).decode(this.#head, form.order);
    const few = Array.from({ length: MOST_HEADER_BLOCKS }, (_, i) => i + 1);
    for (const blockSize of BLOCK_SIZES) {
      if (at % blockSize !== 0) continue;
      for (const subBlocks of new Set([header.sub_hdr_size, ...few])) {
        const bitmapBlocks = at / blockSize - 1 - subBlocks;
        if (subBlocks > 0 && bitmapBlocks > 1 && bitmapBlocks % 2 === 0)
          yield { form, blockSize, subBlocks, bitmapBlocks };
      }
    }
  }

  /** Numbers of the sub-header in each of its forms. */
  async #subHeaders({ bits, order }: KdumpForm, blockSize: number): Promise<readonly Numbers[]> {
    const bytes = new Uint8Array(subHeader64.size);
    if ((await readFully(this.#source, blockSize, bytes)) < bytes.length) return [];
    return SUB_LAYOUTS[bits].map((known) => numbersOf(known, bytes, order));
  }

  /** Whether descriptors that follow one another begin at an offset, and not before. */
  async #isTable(at: number, { form, blockSize }: Pick<Geometry, "form" | "blockSize">): Promise<boolean> {
    const sample = await this.#sample(at, form.order);
    return sample.low !== undefined && (sample.block === undefined || sample.block === blockSize);
  }

  /** The first descriptors at an offset: the lowest offset of contents, and the size of stored ones. */
  async #sample(at: number, order: ByteOrder): Promise<Sample> {
    const bytes = new Uint8Array(SAMPLE * SIZE);
    const n = await readFully(this.#source, at, bytes);
    this.#left -= bytes.length;
    return sampleOf(viewOf(bytes), 0, n, at, this.#source.size, order);
  }

  /** The first place, in blocks of 512 bytes, at which a table begins. */
  async #findTable(order: ByteOrder): Promise<number | undefined> {
    const { size } = this.#source;
    const head = 4 * SIZE;
    const resynchronizer = new Resynchronizer(this.#source, {
      step: 512,
      head,
      isLikely: (view, at) => {
        const little = order === "little";
        if (!FLAGS.has(view.getUint32(at + 12, little)) || view.getBigUint64(at + 16, little) !== 0n)
          return false;
        const stored = view.getUint32(at + 8, little);
        return stored > 0 && stored <= 1 << 20 && view.getBigUint64(at, little) < BigInt(size);
      },
      proof: async (offset) => ((await this.#sample(offset, order)).low === undefined ? 0 : 1),
    });
    return (await resynchronizer.resume(512))?.at;
  }

  /** Whether a table has so many descriptors: a part of a split dump has room for more. */
  async #endsAt(at: number, count: number, order: ByteOrder): Promise<boolean> {
    const last = await this.#sample(at + (count - 1) * SIZE, order);
    const next = await this.#sample(at + count * SIZE, order);
    return last.seen > 0 && next.seen === 0;
  }

  /** What a geometry makes of the dump; undefined where its bitmaps aren't there. */
  async weigh(geometry: Geometry): Promise<Answer | undefined> {
    const { form, blockSize, bitmapBlocks } = geometry;
    const at = descriptorsOf(geometry);
    const { low } = await this.#sample(at, form.order);
    if (low === undefined) return undefined;
    const size = (bitmapBlocks / 2) * blockSize;
    this.#left -= 2 * size;
    if (this.#left < 0) return undefined;
    const both = new Uint8Array(2 * size);
    if ((await readFully(this.#source, at - both.length, both)) < both.length) return undefined;
    const bitmap = both.subarray(size);
    const isDenied = bitmap.some((byte, i) => (byte & ~(both[i] ?? 0)) !== 0);
    // a shared block of zeros may be before the first page's contents
    const counts = [low, low - blockSize].map((start) => (start - at) / SIZE);
    const header = headerLayout(form.bits).decode(this.#head, form.order);
    const subs = await this.#subHeaders(form, blockSize);
    const most = size * 8;
    for (const sub of subs)
      for (const frames of new Set([sub.max_mapnr_64 ?? 0, header.max_mapnr, most])) {
        if (frames === 0 || frames > most) continue;
        for (const part of partsOf(sub, frames)) {
          const bits = countBits(bitmap, part?.start ?? 0, Math.min(frames, part?.end ?? frames));
          if (
            bits > 0 &&
            (part === undefined ? counts.includes(bits) : await this.#endsAt(at, bits, form.order))
          )
            return this.#answer(geometry, header, sub, { frames, part, isProven: true, isDenied });
        }
      }
    const [sub = {}] = subs;
    const frames =
      [sub.max_mapnr_64, header.max_mapnr].find((n) => n !== undefined && n > 0 && n <= most) ?? most;
    const part = partsOf(sub, frames).find((other) => (sub.split === 1) === (other !== undefined));
    return this.#answer(geometry, header, sub, { frames, part, isProven: false, isDenied });
  }

  #answer(
    geometry: Geometry,
    header: Header,
    sub: Numbers,
    { frames, part, ...proof }: Pick<Answer, "frames" | "isProven" | "isDenied"> & { part: Part | undefined },
  ): Answer {
    const { form, blockSize, subBlocks, bitmapBlocks } = geometry;
    const isKnown = [KDUMP_SIGNATURE, DISKDUMP_SIGNATURE].includes(latin1(this.#head.subarray(0, 8)));
    const version = header.header_version;
    const wanted: Header = {
      ...header,
      signature: isKnown ? header.signature : KDUMP_SIGNATURE,
      header_version: version >= 0 && version <= HEADER_VERSION ? version : HEADER_VERSION,
      block_size: blockSize,
      sub_hdr_size: subBlocks,
      bitmap_blocks: bitmapBlocks,
      max_mapnr: frames % 2 ** 32,
    };
    const [subLayout] = SUB_LAYOUTS[form.bits];
    const notes = placeOfNotes(sub, geometry, subLayout.size);
    const text = insideOf(sub.offset_vmcoreinfo, sub.size_vmcoreinfo, geometry);
    const erased = insideOf(sub.offset_eraseinfo, sub.size_eraseinfo, undefined, this.#source.size);
    const made: SubHeader = {
      phys_base: BigInt.asUintN(form.bits, BigInt(sub.phys_base ?? 0)),
      dump_level: sub.dump_level ?? 0,
      split: part === undefined ? 0 : 1,
      start_pfn: BigInt((part?.start ?? 0) % 2 ** 32),
      end_pfn: BigInt((part?.end ?? 0) % 2 ** 32),
      offset_vmcoreinfo: text.at,
      size_vmcoreinfo: text.size,
      offset_note: notes.at,
      size_note: notes.size,
      offset_eraseinfo: erased.at,
      size_eraseinfo: erased.size,
      start_pfn_64: part?.start ?? 0,
      end_pfn_64: part?.end ?? 0,
      max_mapnr_64: frames,
    };
    const changed = [
      ...Object.keys(wanted).filter((key) => isOther(header, wanted, key)),
      ...Object.keys(made).filter((key) =>
        key === "phys_base" ? sub.phys_base === undefined : isOther(sub, made, key),
      ),
    ];
    return { geometry, header: wanted, sub: made, frames, changed, ...proof };
  }
}

const isOther = (a: object, b: object, key: string): boolean =>
  String((a as Record<string, unknown>)[key]) !== String((b as Record<string, unknown>)[key]);

const descriptorsOf = ({ blockSize, subBlocks, bitmapBlocks }: Geometry): number =>
  (1 + subBlocks + bitmapBlocks) * blockSize;

/** Frames of a part of a split dump. */
interface Part {
  readonly start: number;
  readonly end: number;
}

/** What a sub-header may say of the part of a dump that is here: all of it, or frames by one pair of numbers or the other. */
function partsOf(sub: Numbers, frames: number): readonly (Part | undefined)[] {
  const pairs = [
    [sub.start_pfn_64, sub.end_pfn_64],
    [sub.start_pfn, sub.end_pfn],
    [sub.start_pfn_64, sub.end_pfn],
    [sub.start_pfn, sub.end_pfn_64],
  ] as const;
  const parts = pairs.flatMap(([start = 0, end = 0]) =>
    start < end && end <= frames ? [{ start, end }] : [],
  );
  return [...parts, undefined];
}

/** Blocks that the sub-header and its notes take. */
function blocksOfNotes({ offset_note: at = 0, size_note: size = 0 }: Numbers, blockSize: number): number {
  return Math.ceil(Math.max(0, at + size - blockSize) / blockSize);
}

/** Where the notes are: where the sub-header says, else from its end to the end of its blocks. */
function placeOfNotes(sub: Numbers, geometry: Geometry, size: number): { at: number; size: number } {
  const stated = insideOf(sub.offset_note, sub.size_note, geometry);
  if (stated.size > 0) return stated;
  const at = geometry.blockSize + size;
  return { at, size: (1 + geometry.subBlocks) * geometry.blockSize - at };
}

function insideOf(at = 0, size = 0, geometry?: Geometry, fileEnd = 0): { at: number; size: number } {
  const start = geometry?.blockSize ?? 0;
  const end = geometry === undefined ? fileEnd : (1 + geometry.subBlocks) * geometry.blockSize;
  return size > 0 && at > start && at + size <= end ? { at, size } : { at: 0, size: 0 };
}

/** The members of a structure one by one: what can't be a number is left out. */
function numbersOf(
  known: (typeof SUB_LAYOUTS)[32 | 64][number],
  bytes: Uint8Array,
  order: ByteOrder,
): Numbers {
  const view = viewOf(bytes);
  const little = order === "little";
  const numbers: Numbers = {};
  for (const { name, offset, size } of known.fields) {
    if (name.startsWith("padding") || offset + size > bytes.length) continue;
    const word = size === 4 ? BigInt(view.getUint32(offset, little)) : view.getBigUint64(offset, little);
    // the kernel may be moved down
    const value = Number(name === "phys_base" ? BigInt.asIntN(size * 8, word) : word);
    if (Number.isSafeInteger(value)) numbers[name as keyof SubHeader] = value;
  }
  return numbers;
}

/** What the first descriptors of a table show. */
interface Sample {
  /** The lowest offset of contents; undefined: they don't follow one another. */
  readonly low: number | undefined;
  /** Size of a page stored as it is. */
  readonly block: number | undefined;
  /** Possible descriptors, from the first on. */
  readonly seen: number;
}

/** Looks at the descriptors from `at` of a view on, which is `offset` in the file. */
function sampleOf(
  view: DataView,
  from: number,
  to: number,
  offset: number,
  fileSize: number,
  order: ByteOrder,
): Sample {
  const none = { low: undefined, block: undefined, seen: 0 };
  const little = order === "little";
  let low = Number.POSITIVE_INFINITY;
  let block: number | undefined;
  let [seen, linked] = [0, 0];
  let end = -1;
  for (let at = from; at + SIZE <= to && offset + at - from < low; at += SIZE) {
    const start = view.getBigUint64(at, little);
    const size = view.getUint32(at + 8, little);
    const flags = view.getUint32(at + 12, little);
    const isPossible =
      FLAGS.has(flags) &&
      size > 0 &&
      size <= 1 << 20 &&
      view.getBigUint64(at + 16, little) === 0n &&
      start > BigInt(offset);
    if (!isPossible || start + BigInt(size) > BigInt(fileSize)) {
      // the first must be one; of the others damage may have taken some
      if (seen === 0) return none;
      continue;
    }
    seen += 1;
    const place = Number(start);
    if (place === end || place === low || place + size === low || (flags === 0 && seen === 1)) linked += 1;
    if (flags === 0 && block === undefined) block = size;
    low = Math.min(low, place);
    end = place + size;
  }
  return linked > 0 && linked * 2 >= seen ? { low, block, seen } : { ...none, seen };
}
