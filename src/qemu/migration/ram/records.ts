import { readU64 } from "../../../binary/layout.js";
import type { ByteSource } from "../../../io/byte-source.js";
import { FormatError } from "../../../io/errors.js";
import { Frame } from "../frame.js";
import {
  blockLength,
  compressedLimit,
  FLAG,
  flagNames,
  mappedRamHeader,
  ORDER,
  ramRecord,
  xbzrleHeader,
} from "../layout.js";
import { RamIndex, type RamIndexOptions } from "./index.js";
import { QEVM } from "../rules.js";
import { checkDelta } from "./xbzrle.js";

/** Why a page that was sent has no content. */
export const LOST = {
  delta: "lost: its difference is damaged",
  base: "lost: its difference has no page to apply to",
  zlib: "lost: its compressed data are damaged",
  cut: "lost: it lies beyond the end of the file",
} as const;

const TWO_32 = 0x1_0000_0000;
/** All blocks together: what guest addresses can reach. */
const MOST_RAM = 2 ** 52;
/** Rounds described one by one; what comes later counts into the last. */
const MOST_ROUNDS = 1000;
/** Pages by which compressed ones may come late. */
const DISORDER = 1024;

/** `OSRE` and `VMCO`, as bytes stand; the length of a note's name. */
const OSRE = 0x4f53_5245;
const VMCO = 0x564d_434f;
const NOTE_NAME = 11;
const NOTE_HEAD = 16;
const MOST_NOTES = 4096;

/** How often a page of each sort came. */
export interface PageCounts {
  plain: number;
  zero: number;
  xbzrle: number;
  compressed: number;
}

/** One run through memory: addresses ascend within it. A live migration makes many. */
export interface Round extends PageCounts {
  /** Section it began in. */
  readonly section: number;
  readonly offset: number;
}

/** One block of guest RAM, ROM or video memory. */
export interface RamBlock {
  readonly name: string;
  /** Bytes in use. */
  readonly length: number;
  /** Frame of its first page in the index. */
  readonly firstFrame: number;
  readonly pages: number;
  /** Guest address of its region, given with x-ignore-shared. */
  readonly address?: number;
  readonly hostPageSize?: number;
  /** Places of a mapped-ram file, in bytes from the start of the input. */
  readonly mapped?: { readonly bitmapOffset: number; readonly pagesOffset: number; readonly present: number };
  readonly counts: PageCounts & { again: number };
}

export interface RamOptions extends Omit<RamIndexOptions, "pageSize"> {
  readonly pageSize: number;
  readonly ignoreShared: boolean;
  readonly mappedRam: boolean;
  /** Decompress every compressed page at once, to know which are damaged. */
  readonly checkCompressed: boolean;
  /** Where the stream begins in its input. */
  readonly streamStart: number;
  /** A host page size may stand in the block list: postcopy was announced. */
  readonly postcopy: boolean;
}

/** Reads the records of the `ram` section, all parts of it. */
export class RamReader {
  readonly blocks: RamBlock[] = [];
  readonly rounds: Round[] = [];
  readonly index: RamIndex;
  /** Frames of plain pages that begin as VMCOREINFO does; a later copy may have replaced them. */
  readonly noteFrames: number[] = [];
  /** Sections that held records. */
  sections = 0;
  readonly #frame: Frame;
  readonly #options: RamOptions;
  readonly #byName = new Map<string, RamBlock>();
  #listed = false;
  #current: RamBlock | undefined;
  /** Whether any record has named a block: CONTINUE needs one. */
  #named = false;
  #lastFrame = -1;
  #round: Round | undefined;

  constructor(frame: Frame, source: ByteSource, options: RamOptions) {
    this.#frame = frame;
    this.#options = options;
    this.index = new RamIndex(source, options);
  }

  /** Records up to the end mark of this part. */
  async readRecords(): Promise<void> {
    const frame = this.#frame;
    const { pageSize, forReading } = this.#options;
    // old ARM boards have pages of 1 KiB, and no more flags than fit below
    const flagBits = Math.min(pageSize, 0x1000) - 1;
    this.sections += 1;
    for (;;) {
      const { reader } = frame;
      const ready = reader.need(ramRecord.size);
      if (ready !== true && !(await ready))
        frame.truncated("a RAM record", ramRecord.size - reader.available);
      const at = reader.position;
      const low = reader.view.getUint32(reader.at + 4);
      const flags = low & flagBits;
      const address = reader.view.getUint32(reader.at) * TWO_32 + (low - flags);
      void reader.skip(ramRecord.size);
      const kind = flags & ~FLAG.continue;
      switch (kind) {
        case FLAG.page: {
          if (kind === flags) await this.#selectBlock();
          const content = reader.position;
          if (forReading && reader.available < NOTE_HEAD) await frame.need(NOTE_HEAD, "a page");
          const likely = forReading && this.#mayHoldVmcoreInfo(reader.at);
          const skipped = reader.skip(pageSize);
          const n = skipped instanceof Promise ? await skipped : skipped;
          if (n < pageSize) frame.truncated("a page", pageSize - n);
          const page = this.#place(address, at);
          if (page >= 0) {
            this.#count("plain", page);
            this.index.plain(page, content);
            if (likely && this.noteFrames.length < MOST_NOTES) this.noteFrames.push(page);
            this.#takeFollowing(address, page);
          }
          break;
        }
        case FLAG.zero: {
          if (kind === flags) await this.#selectBlock();
          if (reader.available < 1) await frame.need(1, "a zero page");
          const byte = reader.view.getUint8(reader.at);
          void reader.skip(1);
          const page = this.#place(address, at);
          if (page >= 0) {
            this.#count("zero", page);
            if (byte === 0) this.index.zero(page);
            else {
              frame.add(QEVM.fill, at, `a page of bytes 0x${byte.toString(16)}`);
              this.index.fill(page, byte);
            }
          }
          break;
        }
        case FLAG.xbzrle:
          if (kind === flags) await this.#selectBlock();
          await this.#delta(address, at);
          break;
        case FLAG.compress:
          if (kind === flags) await this.#selectBlock();
          await this.#compressed(address, at);
          break;
        case FLAG.memSize:
          if (flags !== kind || this.#listed)
            frame.halt(QEVM.blockList, at, "a second block list, or one that continues a block");
          await this.#readBlockList(address, at);
          break;
        case FLAG.eos:
          if (flags !== kind || address !== 0)
            frame.halt(QEVM.flags, at, `an end mark with 0x${address.toString(16)} and ${flagNames(flags)}`);
          return;
        case FLAG.multifdFlush:
          break;
        case FLAG.hook:
          frame.halt(QEVM.unsupported, at, "a record of an RDMA migration");
          break;
        default:
          frame.halt(QEVM.flags, at, `a record's flags are ${flagNames(flags)}`);
      }
    }
  }

  /**
   * Takes the plain pages behind the one at `address` that lie in the window and are the block's next, all at
   * once: most of most streams is such runs.
   */
  #takeFollowing(address: number, page: number): void {
    const block = this.#current;
    if (block === undefined) return;
    const { reader } = this.#frame;
    const { view, at } = reader;
    const { pageSize, forReading } = this.#options;
    const spacing = ramRecord.size + pageSize;
    const most = Math.min(
      Math.floor(reader.available / spacing),
      Math.floor((block.length - address) / pageSize) - 1,
    );
    const high = Math.floor(address / TWO_32);
    let low = (address % TWO_32) + (FLAG.page | FLAG.continue);
    let count = 0;
    for (let record = at; count < most; record += spacing) {
      low += pageSize;
      // beyond 4 GiB the upper half changes: the next record is read by itself
      if (view.getUint32(record + 4) !== low || view.getUint32(record) !== high) break;
      count += 1;
      if (
        forReading &&
        this.#mayHoldVmcoreInfo(record + ramRecord.size) &&
        this.noteFrames.length < MOST_NOTES
      )
        this.noteFrames.push(page + count);
    }
    if (count === 0) return;
    if (this.rounds.length > 1) {
      for (let i = 1; i <= count; i += 1) if (this.index.has(page + i)) block.counts.again += 1;
    }
    block.counts.plain += count;
    if (this.#round !== undefined) this.#round.plain += count;
    this.#lastFrame = page + count;
    this.index.plainRun(page + 1, count, reader.position + ramRecord.size, spacing);
    void reader.skip(count * spacing);
  }

  /** Whether the page whose contents are at `at` in the window begins as VMCOREINFO or its note does: found on the way, nothing is read twice. */
  #mayHoldVmcoreInfo(at: number): boolean {
    const { view } = this.#frame.reader;
    const first = view.getUint32(at);
    if (first === OSRE) return true;
    return (first === NOTE_NAME || first === NOTE_NAME << 24) && view.getUint32(at + 12) === VMCO;
  }

  async #selectBlock(): Promise<void> {
    const frame = this.#frame;
    const at = frame.position;
    const name = await frame.name("a RAM block");
    this.#named = true;
    this.#current = this.#byName.get(name);
    if (this.#current === undefined)
      frame.add(QEVM.unknownBlock, at, `no block '${name}' is in the block list`);
  }

  /** Frame of the page at `address` of the current block, or -1 after a finding. */
  #place(address: number, at: number): number {
    const block = this.#current;
    const { pageSize } = this.#options;
    if (block === undefined) {
      if (!this.#named) this.#frame.add(QEVM.noBlock, at, "a page of no block");
      return -1;
    }
    if (address >= block.length || address % pageSize !== 0) {
      this.#frame.add(
        QEVM.outside,
        at,
        `page 0x${address.toString(16)} of block '${block.name}', which has 0x${block.length.toString(16)} bytes`,
      );
      return -1;
    }
    return block.firstFrame + address / pageSize;
  }

  #count(sort: keyof PageCounts, page: number): void {
    const block = this.#current;
    if (block === undefined) return;
    block.counts[sort] += 1;
    // compressing threads finish out of order: small steps back are none of a new round
    const back = sort === "compressed" ? DISORDER : 0;
    if (page + back <= this.#lastFrame || this.#round === undefined) this.#startRound();
    // in the first round addresses only ascend
    if ((this.rounds.length > 1 || back > 0) && this.index.has(page)) block.counts.again += 1;
    this.#lastFrame = back === 0 ? page : Math.max(page, this.#lastFrame);
    if (this.#round !== undefined) this.#round[sort] += 1;
  }

  #startRound(): void {
    if (this.rounds.length >= MOST_ROUNDS) return;
    const section = this.#frame.record?.index ?? 0;
    this.#round = { section, offset: this.#frame.position, plain: 0, zero: 0, xbzrle: 0, compressed: 0 };
    this.rounds.push(this.#round);
  }

  async #delta(address: number, at: number): Promise<void> {
    const frame = this.#frame;
    const { reader } = frame;
    const { pageSize } = this.#options;
    if (reader.available < xbzrleHeader.size) await frame.need(xbzrleHeader.size, "a difference");
    const encoding = reader.view.getUint8(reader.at);
    const length = reader.view.getUint16(reader.at + 1);
    void reader.skip(xbzrleHeader.size);
    if (encoding !== 1 || length > pageSize)
      frame.halt(QEVM.xbzrle, at, `a difference of encoding ${encoding} and ${length} bytes`);
    if (reader.available < length) await frame.need(length, "a difference");
    const content = reader.position;
    const wrong = checkDelta(
      new Uint8Array(reader.view.buffer, reader.view.byteOffset),
      reader.at,
      length,
      pageSize,
    );
    void reader.skip(length);
    const page = this.#place(address, at);
    if (page < 0) return;
    this.#count("xbzrle", page);
    if (wrong !== undefined) {
      frame.add(QEVM.xbzrle, at, `the difference of page 0x${address.toString(16)} ${wrong}`);
      this.index.lost(page, LOST.delta);
    } else if (!this.index.delta(page, content, length)) {
      frame.add(QEVM.xbzrleBase, at, `a difference to page 0x${address.toString(16)}, which has no content`);
      this.index.lost(page, LOST.base);
    }
    if (this.index.crowded) await this.index.settle();
  }

  async #compressed(address: number, at: number): Promise<void> {
    const frame = this.#frame;
    const { pageSize, checkCompressed } = this.#options;
    const content = frame.position;
    const length = await frame.u32("a compressed page");
    if (length > compressedLimit(pageSize))
      frame.halt(QEVM.compressLength, at, `a page of ${pageSize} bytes compressed to ${length}`);
    await frame.need(length, "a compressed page");
    const packed = frame.reader.take(length);
    const page = this.#place(address, at);
    if (page < 0) return;
    this.#count("compressed", page);
    if (checkCompressed) {
      try {
        this.index.inflated(packed, content);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        frame.add(QEVM.compressData, at, `page 0x${address.toString(16)}: ${error.message}`);
        this.index.lost(page, LOST.zlib);
        return;
      }
    }
    this.index.zlib(page, content);
  }

  async #readBlockList(total: number, at: number): Promise<void> {
    const frame = this.#frame;
    this.#listed = true;
    if (total > MOST_RAM) frame.halt(QEVM.blockList, at, `blocks of 0x${total.toString(16)} bytes in all`);
    let sum = 0;
    while (sum < total) {
      const entry = frame.position;
      const name = await frame.name("a RAM block");
      await frame.need(blockLength.size, "the block list");
      const length = this.#address(entry);
      const { pageSize } = this.#options;
      sum += length;
      if (length === 0 || length % pageSize !== 0 || sum > total)
        frame.halt(
          QEVM.blockList,
          entry,
          `block '${name}' has 0x${length.toString(16)} bytes, the announced sum is 0x${total.toString(16)}`,
        );
      if (this.#byName.has(name)) frame.halt(QEVM.blockList, entry, `block '${name}' is listed twice`);
      const hostPageSize = await this.#hostPageSize();
      let address: number | undefined;
      if (this.#options.ignoreShared) {
        await frame.need(blockLength.size, "the block list");
        address = this.#address(entry);
      }
      const firstFrame = (sum - length) / pageSize;
      const pages = length / pageSize;
      const mapped = this.#options.mappedRam ? await this.#readMapped(name, firstFrame, pages) : undefined;
      const block: RamBlock = {
        name,
        length,
        firstFrame,
        pages,
        ...(address === undefined ? {} : { address }),
        ...(hostPageSize === undefined ? {} : { hostPageSize }),
        ...(mapped === undefined ? {} : { mapped }),
        counts: { plain: 0, zero: 0, xbzrle: 0, compressed: 0, again: 0 },
      };
      this.blocks.push(block);
      this.#byName.set(name, block);
    }
  }

  /** A u64 of the block list, made available before. */
  #address(entry: number): number {
    const { reader } = this.#frame;
    try {
      const value = readU64(reader.view, reader.at, false);
      reader.take(8);
      return value;
    } catch (error) {
      return this.#frame.halt(QEVM.blockList, entry, (error as Error).message);
    }
  }

  /**
   * With postcopy and huge pages the size of a host page follows: a power of two of at least 4096. Nothing else
   * in its place can be one: names have a length in front, the end mark is smaller.
   */
  async #hostPageSize(): Promise<number | undefined> {
    if (this.#options.ignoreShared && !this.#options.postcopy) return undefined;
    const { reader } = this.#frame;
    await this.#frame.need(8, "the block list");
    const high = reader.view.getUint32(reader.at);
    const low = reader.view.getUint32(reader.at + 4);
    if (high !== 0 || low < 4096 || (low & (low - 1)) !== 0) return undefined;
    reader.take(8);
    return low;
  }

  async #readMapped(name: string, firstFrame: number, pages: number): Promise<RamBlock["mapped"]> {
    const frame = this.#frame;
    const { pageSize, streamStart } = this.#options;
    const at = frame.position;
    await frame.need(mappedRamHeader.size, "a mapped-ram header");
    let header: ReturnType<typeof mappedRamHeader.read>;
    try {
      header = mappedRamHeader.read(frame.reader.view, frame.reader.at, ORDER);
    } catch (error) {
      return frame.halt(QEVM.mapped, at, (error as Error).message);
    }
    frame.reader.take(mappedRamHeader.size);
    // offsets count from the file's begin, or from the stream's in an envelope: the bitmap follows its header
    const base = header.bitmapOffset + streamStart === frame.position ? streamStart : 0;
    const bitmapOffset = header.bitmapOffset + base;
    const pagesOffset = header.pagesOffset + base;
    const bitmapSize = Math.ceil(pages / 8);
    if (
      header.version !== 1 ||
      header.pageSize !== pageSize ||
      bitmapOffset < frame.position ||
      pagesOffset < bitmapOffset + bitmapSize
    )
      frame.halt(
        QEVM.mapped,
        at,
        `block '${name}': version ${header.version}, page size ${header.pageSize}, bitmap at 0x${bitmapOffset.toString(16)}, pages at 0x${pagesOffset.toString(16)}`,
      );
    await frame.skip(bitmapOffset - frame.position, "what lies in front of a bitmap");
    const present = await this.#readBitmap(firstFrame, pages, pagesOffset);
    await frame.skip(pagesOffset - frame.position, "what lies between a bitmap and its pages");
    const size = pages * pageSize;
    const inFile = frame.reader.size === undefined ? size : Math.max(0, frame.reader.size - pagesOffset);
    if (inFile < size) this.#cutMapped(name, firstFrame, pages, Math.floor(inFile / pageSize), pagesOffset);
    await frame.skip(size, `the pages of block '${name}'`);
    return { bitmapOffset, pagesOffset, present };
  }

  /** Takes over a bitmap, bits as a little-endian host keeps them. Returns the pages it marks. */
  async #readBitmap(firstFrame: number, pages: number, pagesOffset: number): Promise<number> {
    const frame = this.#frame;
    const { pageSize } = this.#options;
    let present = 0;
    for (let page = 0; page < pages; ) {
      const step = Math.min(4096, Math.ceil((pages - page) / 8));
      await frame.need(step, "a bitmap");
      const bits = frame.reader.take(step);
      const end = Math.min(pages, page + step * 8);
      const isSet = (p: number): boolean => (((bits[(p - page) >> 3] ?? 0) >> (p & 7)) & 1) === 1;
      for (let start = page; start < end; ) {
        const set = isSet(start);
        let stop = start + 1;
        while (stop < end && isSet(stop) === set) stop += 1;
        if (set) {
          this.index.flush();
          this.index.map.set(firstFrame + start, stop - start, pagesOffset + start * pageSize);
          present += stop - start;
        } else this.index.zero(firstFrame + start, stop - start);
        start = stop;
      }
      page = end;
    }
    this.index.flush();
    return present;
  }

  /** Marks what a cut file lacks of a block's pages. A zero page is no byte in the file: it stays known. */
  #cutMapped(name: string, firstFrame: number, pages: number, whole: number, pagesOffset: number): void {
    let missing = 0;
    for (let page = whole; page < pages; page += 1) {
      if (this.index.map.at(firstFrame + page).kind !== "source") continue;
      this.index.lost(firstFrame + page, LOST.cut);
      missing += 1;
    }
    if (missing > 0)
      this.#frame.add(
        QEVM.mappedPages,
        pagesOffset,
        `block '${name}': ${missing} of its pages lie beyond the end of the file`,
      );
  }
}

/** Pages of a block by what the index knows of them. */
export interface BlockPages {
  readonly present: number;
  readonly zero: number;
  readonly lost: number;
  /** Never sent. */
  readonly missing: number;
}

/** Counts all blocks in one walk over the index. */
export function countPages(ram: RamReader, pageSize: number): Map<RamBlock, BlockPages> {
  const counts = new Map<RamBlock, { present: number; zero: number; lost: number; missing: number }>();
  for (const block of ram.blocks) counts.set(block, { present: 0, zero: 0, lost: 0, missing: block.pages });
  let at = 0;
  ram.index.flush();
  for (const range of ram.index.map.ranges()) {
    let start = range.start / pageSize;
    const end = range.end / pageSize;
    while (start < end) {
      let block = ram.blocks[at];
      while (block !== undefined && block.firstFrame + block.pages <= start) block = ram.blocks[(at += 1)];
      if (block === undefined) break;
      const stop = Math.min(end, block.firstFrame + block.pages);
      const count = counts.get(block);
      if (count !== undefined) {
        count[range.presence === "absent" ? "lost" : range.presence] += stop - start;
        count.missing -= stop - start;
      }
      start = stop;
    }
  }
  return counts;
}
