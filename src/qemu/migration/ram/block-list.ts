import { readU64 } from "../../../binary/layout.js";
import { roundUp } from "../../../io/alignment.js";
import { ByteReader } from "../../../io/byte-reader.js";
import type { ByteSource } from "../../../io/byte-source.js";
import type { Frame } from "../frame.js";
import { blockLength, MAPPED_ALIGNMENT, mappedRamHeader, ORDER } from "../layout.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";
import { LOST, mappedBitmapSize, type RamBlock, type RamOptions } from "./blocks.js";
import type { MappedBlock } from "./mend-mapped.js";
import type { RamIndex } from "./index.js";

/** All blocks together: what guest addresses can reach. */
const MOST_RAM = 2 ** 52;

/** Reads the list of RAM blocks at the start of the `ram` section; of a mapped-ram file with the pages of each. */
export class BlockListReader {
  /** Blocks read so far, in the list's order. */
  readonly blocks: RamBlock[] = [];
  readonly byName = new Map<string, RamBlock>();
  readonly #frame: Frame;
  readonly #index: RamIndex;
  readonly #options: RamOptions;
  readonly #source: ByteSource;

  /** @param source the stream's input, for lists that were known otherwise */
  constructor(frame: Frame, source: ByteSource, index: RamIndex, options: RamOptions) {
    this.#source = source;
    this.#frame = frame;
    this.#index = index;
    this.#options = options;
  }

  /** Takes over a list of blocks that was known otherwise; of a mapped-ram file with the pages of each. */
  async adopt(blocks: readonly MappedBlock[]): Promise<void> {
    let firstFrame = 0;
    for (const { name, length, mapped } of blocks) {
      const pages = Math.ceil(length / this.#options.pageSize);
      const counts = { plain: 0, zero: 0, xbzrle: 0, compressed: 0, again: 0 };
      const present = mapped === undefined ? 0 : await this.#adoptPages(name, firstFrame, pages, mapped);
      const block: RamBlock = {
        name,
        length,
        firstFrame,
        pages,
        counts,
        ...(mapped === undefined ? {} : { mapped: { ...mapped, present } }),
      };
      this.blocks.push(block);
      this.byName.set(name, block);
      firstFrame += pages;
    }
  }

  /** Takes over the pages of a mapped-ram block by its bitmap, all of them without. Returns how many have contents. */
  async #adoptPages(
    name: string,
    firstFrame: number,
    pages: number,
    { bitmapOffset, pagesOffset }: NonNullable<MappedBlock["mapped"]>,
  ): Promise<number> {
    let present = 0;
    if (bitmapOffset === undefined) {
      this.#index.flush();
      this.#index.map.set(firstFrame, pages, pagesOffset);
      present = pages;
    } else {
      const reader = this.#frame.reader;
      this.#frame.reader = new ByteReader(this.#source, { start: bitmapOffset });
      present = await this.#readBitmap(firstFrame, pages, pagesOffset);
      this.#frame.reader = reader;
    }
    this.#cutMapped(name, firstFrame, pages, pagesOffset, this.#source.size);
    return present;
  }

  /** Reads the list of blocks of `total` bytes in all, announced at `at`. @throws FormatError for a list that can't be */
  async read(total: number, at: number): Promise<void> {
    const frame = this.#frame;
    if (total > MOST_RAM)
      frame.fatal(QEMU_MIGRATION_RULES.blockList, at, `blocks of 0x${total.toString(16)} bytes in all`);
    let sum = 0;
    while (sum < total) {
      const entry = frame.position;
      const name = await frame.name("a RAM block");
      await frame.need(blockLength.size, "the block list");
      const length = this.#address(entry);
      const { pageSize } = this.#options;
      sum += length;
      if (length === 0 || length % pageSize !== 0 || sum > total)
        frame.fatal(
          QEMU_MIGRATION_RULES.blockList,
          entry,
          `block '${name}' has 0x${length.toString(16)} bytes, the announced sum is 0x${total.toString(16)}`,
        );
      if (this.byName.has(name))
        frame.fatal(QEMU_MIGRATION_RULES.blockList, entry, `block '${name}' is listed twice`);
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
      this.byName.set(name, block);
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
      return this.#frame.fatal(QEMU_MIGRATION_RULES.blockList, entry, (error as Error).message);
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
      return frame.fatal(QEMU_MIGRATION_RULES.mapped, at, (error as Error).message);
    }
    frame.reader.take(mappedRamHeader.size);
    // since QEMU 11: the block is in a shared file, no bitmap and no room follow
    if (
      this.#options.ignoreShared &&
      header.version === 1 &&
      header.pageSize === pageSize &&
      header.bitmapOffset === 0 &&
      header.pagesOffset === 0
    )
      return undefined;
    // offsets count from the file's begin, or from the stream's in an envelope: the bitmap follows its header
    const base = header.bitmapOffset + streamStart === frame.position ? streamStart : 0;
    const bitmapOffset = header.bitmapOffset + base;
    const pagesOffset = header.pagesOffset + base;
    // some writers round up the bitmap's end, not that of its words
    const isPlace = (bytes: number): boolean =>
      header.pagesOffset === roundUp(header.bitmapOffset + bytes, MAPPED_ALIGNMENT);
    if (
      header.version !== 1 ||
      header.pageSize !== pageSize ||
      bitmapOffset !== frame.position ||
      !(isPlace(mappedBitmapSize(pages)) || isPlace(Math.ceil(pages / 8)))
    )
      frame.fatal(
        QEMU_MIGRATION_RULES.mapped,
        at,
        `block '${name}': version ${header.version}, page size ${header.pageSize}, bitmap at 0x${bitmapOffset.toString(16)}, pages at 0x${pagesOffset.toString(16)}`,
      );
    const present = await this.#readBitmap(firstFrame, pages, pagesOffset);
    await frame.skip(pagesOffset - frame.position, "the bytes between a bitmap and its pages");
    this.#cutMapped(name, firstFrame, pages, pagesOffset, frame.reader.size);
    await frame.skip(pages * pageSize, `the pages of block '${name}'`);
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
          this.#index.flush();
          this.#index.map.set(firstFrame + start, stop - start, pagesOffset + start * pageSize);
          present += stop - start;
        } else this.#index.zero(firstFrame + start, stop - start);
        start = stop;
      }
      page = end;
    }
    this.#index.flush();
    return present;
  }

  /** Marks what a cut file lacks of a block's pages. A zero page is no byte in the file: it stays known. */
  #cutMapped(
    name: string,
    firstFrame: number,
    pages: number,
    pagesOffset: number,
    fileSize = Number.POSITIVE_INFINITY,
  ): void {
    const whole = Math.floor(Math.max(0, fileSize - pagesOffset) / this.#options.pageSize);
    let missing = 0;
    for (let page = whole; page < pages; page += 1) {
      if (this.#index.map.at(firstFrame + page).kind !== "source") continue;
      this.#index.lost(firstFrame + page, LOST.cut);
      missing += 1;
    }
    if (missing > 0)
      this.#frame.report(
        QEMU_MIGRATION_RULES.mappedPages,
        pagesOffset,
        `block '${name}': ${missing} of its pages are beyond the end of the file`,
      );
  }
}
