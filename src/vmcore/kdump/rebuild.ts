import { FormatError } from "../../findings/errors.js";
import { patchedSource } from "../../guest/salvage.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { LostBytesError } from "../../io/lost-bytes.js";
import { countBits } from "./bitmaps.js";
import type { FlattenedSource } from "./flattened.js";
import {
  DISKDUMP_SIGNATURE,
  type Header,
  header64,
  headerLayout,
  HEADER_VERSION,
  KDUMP_SIGNATURE,
  type KdumpForm,
  pageDescriptor,
  type SubHeader,
  subHeader64,
} from "./layout.js";
import { isBlockSize, KdumpFile } from "./read.js";
import {
  blocksOfNotes,
  descriptorsOf,
  type Geometry,
  insideOf,
  leadsToNotes,
  type Numbers,
  numbersOf,
  type Part,
  partsOf,
  placeOfNotes,
  SUB_LAYOUTS,
  withoutJunk,
} from "./rebuild-numbers.js";
import { TableFinder } from "./rebuild-table.js";

/*
 * What the headers say can be known from the rest: descriptors are found by what they look like and by following one
 * another, and there are as many as bitmap 2 has bits set. Each number of the headers is tried, then what it can be
 * otherwise; the first combination that fits both is taken.
 */

const SIZE = pageDescriptor.size;
/** Blocks that headers and notes may take where no number says it. */
const MOST_HEADER_BLOCKS = 64;
/** Bytes of bitmaps and places of tables that are looked at: bounds the time a hostile input takes. */
const MOST_LOOKED_AT = 2 ** 30;
const BLOCK_SIZES = [
  4096, 65_536, 16_384, 8192, 32_768, 2048, 1024, 512, 131_072, 262_144, 524_288, 1_048_576,
];

/** Numbers that say where bitmaps and descriptors are; without the number of bits as a proof only the header is believed. */
export const GEOMETRY: ReadonlySet<string> = new Set(["block_size", "sub_hdr_size", "bitmap_blocks"]);

/** A dump whose headers were made anew. */
export interface RebuiltDump {
  readonly file: KdumpFile;
  /** Names of the numbers that are others than the headers say. */
  readonly changed: readonly string[];
  /** Whether the number of bits proves it. */
  readonly isProven: boolean;
  /** Pages that do, and whether bitmap 1 denies some of them. */
  readonly pages: number;
  readonly isDenied: boolean;
}

/**
 * Finds out where the parts of a dump are whose headers are damaged; undefined: its table of descriptors isn't found.
 * @param within bytes at the start in which a table is looked for to which no number leads
 */
export async function rebuildHeaders(
  input: ByteSource,
  flattened: FlattenedSource | undefined,
  within?: number,
): Promise<RebuiltDump | undefined> {
  const source = flattened ?? input;
  const search = new GeometrySearch(source, within);
  let proven: Answer | undefined;
  let unproven: Answer | undefined;
  for await (const geometry of search.candidates()) {
    const answer = await search.weigh(geometry);
    if (answer === undefined) continue;
    if (answer.isProven && !answer.isDenied) {
      const dump = await finish(input, flattened, answer);
      if (dump !== undefined) return dump;
      continue;
    }
    if (answer.isProven) proven ??= answer;
    unproven ??= answer;
  }
  const best = proven ?? unproven;
  return best && finish(input, flattened, best);
}

interface Answer {
  readonly geometry: Geometry;
  readonly header: Header;
  readonly sub: SubHeader;
  readonly frames: number;
  readonly changed: readonly string[];
  readonly isProven: boolean;
  readonly pages: number;
  /** Whether bitmap 1 denies pages of bitmap 2: it is damaged, or both are elsewhere. */
  readonly isDenied: boolean;
}

/** The dump as an answer has it; undefined where its headers then say what none can. */
async function finish(
  input: ByteSource,
  flattened: FlattenedSource | undefined,
  { geometry, header, sub, changed, isProven, pages, isDenied }: Answer,
): Promise<RebuiltDump | undefined> {
  const { bits, order } = geometry.form;
  const [subLayout] = SUB_LAYOUTS[bits];
  // an older form is shorter, and notes follow it at once
  const end = sub.offset_note > geometry.blockSize ? sub.offset_note - geometry.blockSize : undefined;
  const source = patchedSource(flattened ?? input, [
    { offset: 0, bytes: headerLayout(bits).encode(header, order) },
    { offset: geometry.blockSize, bytes: subLayout.encode(sub, order).subarray(0, end) },
  ]);
  // notes that can't be read are said of the file as it is
  try {
    const file = await KdumpFile.read({ input, flattened, source }, () => undefined);
    return { file, changed, isProven, pages, isDenied };
  } catch (error) {
    if (error instanceof FormatError && !(error instanceof LostBytesError)) return undefined;
    throw error;
  }
}

class GeometrySearch {
  readonly #source: ByteSource;
  readonly #head = new Uint8Array(header64.size);
  readonly #finder: TableFinder;
  readonly #within: number | undefined;
  #bitmaps = 0;

  constructor(source: ByteSource, within: number | undefined) {
    this.#source = source;
    this.#within = within;
    this.#finder = new TableFinder(source);
  }

  /** Geometries whose table begins where descriptors are, the most likely first. */
  async *candidates(): AsyncIterable<Geometry> {
    await readFully(this.#source, 0, this.#head);
    const tried = new Set<string>();
    const fresh = (geometry: Geometry): boolean => {
      const key = JSON.stringify(geometry);
      return !tried.has(key) && tried.add(key).size > 0;
    };
    const forms = await this.#forms();
    for (const form of forms)
      for (const geometry of await this.#stated(form))
        if (fresh(geometry) && (await this.#isTable(descriptorsOf(geometry), geometry))) yield geometry;
    // no number leads to a table: look for one
    for (const order of new Set(forms.map((form) => form.order))) {
      const at = await this.#finder.findTable(order, this.#within);
      if (at === undefined) continue;
      for (const form of forms.filter((other) => other.order === order))
        for (const geometry of this.#dividing(form, at))
          if (fresh(geometry) && (await this.#isTable(at, geometry))) yield geometry;
    }
  }

  /** Byte orders and widths, those first that the numbers of header and sub-header make sense in. */
  async #forms(): Promise<readonly KdumpForm[]> {
    const sense = async ({ bits, order }: KdumpForm): Promise<number> => {
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
      const sizes = isBlockSize(block_size) ? [block_size] : BLOCK_SIZES;
      let leads = 0;
      for (const size of sizes)
        if ((await this.#subHeaders({ bits, order }, size)).some((sub) => leadsToNotes(sub, size))) leads = 3;
      return signs.filter((sign) => sign).length + leads;
    };
    const forms = (["little", "big"] as const).flatMap((order) =>
      ([64, 32] as const).map((bits): KdumpForm => ({ bits, order })),
    );
    const weighed: { form: KdumpForm; weight: number }[] = [];
    for (const form of forms) weighed.push({ form, weight: await sense(form) });
    return weighed.sort((one, other) => other.weight - one.weight).map(({ form }) => form);
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
    const sample = await this.#finder.sample(at, form.order);
    return sample.low !== undefined && (sample.block === undefined || sample.block === blockSize);
  }

  /** What a geometry makes of the dump; undefined where its bitmaps aren't there. */
  async weigh(geometry: Geometry): Promise<Answer | undefined> {
    const { form, blockSize, bitmapBlocks } = geometry;
    const at = descriptorsOf(geometry);
    const { low } = await this.#finder.sample(at, form.order);
    if (low === undefined) return undefined;
    const size = (bitmapBlocks / 2) * blockSize;
    this.#bitmaps += 2 * size;
    if (this.#bitmaps + this.#finder.looked > MOST_LOOKED_AT) return undefined;
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
            (part === undefined ? counts.includes(bits) : await this.#finder.endsAt(at, bits, form.order))
          )
            return this.#answer(geometry, header, sub, {
              frames,
              part,
              isProven: true,
              pages: bits,
              isDenied,
            });
        }
      }
    const [sub = {}] = subs;
    const frames =
      [sub.max_mapnr_64, header.max_mapnr].find((n) => n !== undefined && n > 0 && n <= most) ?? most;
    const part = partsOf(sub, frames).find((other) => (sub.split === 1) === (other !== undefined));
    return this.#answer(geometry, header, sub, { frames, part, isProven: false, pages: 0, isDenied });
  }

  #answer(
    geometry: Geometry,
    header: Header,
    sub: Numbers,
    {
      frames,
      part,
      ...proof
    }: Pick<Answer, "frames" | "isProven" | "pages" | "isDenied"> & { part: Part | undefined },
  ): Answer {
    const { form, blockSize, subBlocks, bitmapBlocks } = geometry;
    const isKnown = [KDUMP_SIGNATURE, DISKDUMP_SIGNATURE].includes(header.signature);
    const version = header.header_version;
    // zeros may be all that is left of the header
    const isLeft = header.block_size === blockSize || header.bitmap_blocks === bitmapBlocks;
    const isVersion = version <= HEADER_VERSION && version >= (isLeft ? 0 : 1);
    const wanted: Header = {
      ...(isLeft ? header : withoutJunk(header)),
      signature: isKnown ? header.signature : KDUMP_SIGNATURE,
      header_version: isVersion ? version : HEADER_VERSION,
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
