// over 350 lines: one loop over all kinds of records, and what damage means to each
import type { ByteSource } from "../../../io/byte-source.js";
import { FormatError } from "../../../findings/errors.js";
import { Frame } from "../frame.js";
import { compressedLimit, FLAG, flagNames, ramRecord, xbzrleHeader } from "../layout.js";
import { TimesAgain } from "./again.js";
import { BlockListReader } from "./block-list.js";
import { LOST, type PageCounts, type RamBlock, type RamOptions, type Round } from "./blocks.js";
import type { MappedBlock } from "./mend-mapped.js";
import { RamIndex } from "./index.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";
import { OpenPages } from "./open-pages.js";
import { RecordOrder } from "./order.js";
import type { LastRecord } from "./resume.js";
import { checkDelta } from "./xbzrle.js";

const TWO_32 = 0x1_0000_0000;
/** Rounds described one by one; what comes later counts into the last. */
const MOST_ROUNDS = 1000;
/** Of a round's bytes: when so many are lost, the part may hold any page of a round. */
const PART_OF_ROUND = 0.95;
/** Pages by which compressed ones may come late. */
const DISORDER = 1024;

/** `OSRE` and `VMCO`, in the order of bytes; the length of a note's name. */
const OSRE = 0x4f53_5245;
const VMCO = 0x564d_434f;
const NOTE_NAME = 11;
const NOTE_HEAD = 16;
const MOST_NOTES = 4096;

/** Reads the records of the `ram` section, all parts of it. */
export class RamReader {
  readonly rounds: Round[] = [];
  readonly index: RamIndex;
  /** How often pages came again. */
  readonly again = new TimesAgain();
  /** Frames of plain pages that begin as VMCOREINFO does; a later copy may have replaced them. */
  readonly noteFrames: number[] = [];
  /** Sections that held records. */
  sections = 0;
  /** Records that say that multifd channels meet here. */
  flushes = 0;
  #meetings = 0;
  readonly #frame: Frame;
  readonly #options: RamOptions;
  readonly #list: BlockListReader;
  #listed = false;
  #isListWhole = false;
  #current: RamBlock | undefined;
  /** Whether any record has named a block: CONTINUE needs one. */
  #named = false;
  #lastFrame = -1;
  /** Where the record being read begins. */
  #recordAt = -1;
  readonly #order: RecordOrder;
  readonly #open = new OpenPages();
  /** Whether no page came a second time yet; whether pages were taken back. */
  #isFirst = true;
  #isUndone = false;
  #isCompressed = false;
  #round: Round | undefined;
  /** Where the records that were read end. */
  #end = 0;

  constructor(frame: Frame, source: ByteSource, options: RamOptions) {
    this.#frame = frame;
    this.#options = options;
    this.index = new RamIndex(source, options);
    this.#order = new RecordOrder(this.index);
    this.#list = new BlockListReader(frame, source, this.index, options);
  }

  get pageSize(): number {
    return this.#options.pageSize;
  }

  /** Blocks in the order of the list. */
  get blocks(): readonly RamBlock[] {
    return this.#list.blocks;
  }

  /** Whether the list of blocks was read to its end. */
  get isListed(): boolean {
    return this.#isListWhole;
  }

  /** Takes over blocks of a list that is damaged in the stream. */
  async adopt(blocks: readonly MappedBlock[]): Promise<void> {
    this.#listed = true;
    this.#isListWhole = true;
    await this.#list.adopt(blocks);
  }

  /** The last record that was read or begun. */
  get last(): LastRecord {
    const block = this.#current;
    return {
      block,
      address: block === undefined ? -1 : (this.#lastFrame - block.firstFrame) * this.#options.pageSize,
      offset: this.#recordAt,
      firstRound: this.#isFirst,
    };
  }

  /**
   * Reading goes on after damage with records of `block`; undefined: it can't be told, and pages are left out until a
   * record names one. @param address of the first of them @param bytes that are lost
   */
  resume(block: RamBlock | undefined, address: number, bytes: number): void {
    this.#current = block;
    this.#named = true;
    const page = block === undefined ? -1 : block.firstFrame + address / this.#options.pageSize;
    const [round, next] = this.rounds.slice(-2);
    const ofRound = round === undefined || next === undefined ? Infinity : next.offset - round.offset;
    if (page >= 0 && this.#isFirst) this.#lastFrame = page - 1;
    const joint = { bytes, offset: this.#frame.position, round: this.rounds.length - 1 };
    this.#order.lose(page, bytes > ofRound * PART_OF_ROUND, joint);
  }

  /** Notes that no record is where the last one ends. @returns where that begins, if its page's contents may be shifted */
  loseNext(): number | undefined {
    return this.#open.loseNext(this.#recordAt);
  }

  /** Frames whose contents end where no record was found. */
  get shifted(): ReadonlySet<number> {
    return this.#open.shifted;
  }

  /** Takes back what came since a joint that was none, in the first round: pages from `first` on. */
  undo(first: number): void {
    this.#isUndone = true;
    for (let page = first; page <= this.#lastFrame; page += 1)
      if (this.index.has(page)) this.index.lost(page, LOST.order);
  }

  /** Whether pages came again: the guest ran while its memory was sent. */
  get isAgain(): boolean {
    return this.blocks.some(({ counts }) => counts.again > 0);
  }

  /**
   * Which frames may be older than the guest's last state, since a lost part may have held newer copies: none where the
   * guest didn't run. To be called when no more records come.
   * @param isLive the guest is known to have run while its memory was sent
   */
  stale(isLive: boolean): ((frame: number) => boolean) | undefined {
    if (!isLive && !this.isAgain) return undefined;
    return this.#order.stale(this.rounds, this.#end);
  }

  /** Puts down what came through multifd channels up to here: later copies count. */
  async #meet(): Promise<void> {
    this.#meetings += 1;
    await this.#options.beside?.settle(this.#list.byName, this.index, this.#meetings);
  }

  /** To be called when no more records come. */
  async finish(): Promise<void> {
    const { beside } = this.#options;
    await beside?.settle(this.#list.byName, this.index);
    beside?.takeBackings(this.#list.byName, this.index);
  }

  /** Records up to the end mark of this part. */
  async readRecords(): Promise<void> {
    const frame = this.#frame;
    const { pageSize, forReading, salvage } = this.#options;
    // old ARM boards have pages of 1 KiB, and no more flags than fit below
    const flagBits = Math.min(pageSize, 0x1000) - 1;
    this.sections += 1;
    for (;;) {
      const { reader } = frame;
      const ready = reader.need(ramRecord.size);
      if (ready !== true && !(await ready))
        frame.truncated("a RAM record", ramRecord.size - reader.available);
      const at = reader.position;
      this.#recordAt = at;
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
          let page = this.#place(address, at);
          if (page >= 0 && salvage && this.#order.isBack(page) && !(await this.#isInOrder(page))) page = -1;
          if (page >= 0) {
            this.#count("plain", page);
            if (salvage) {
              this.#order.whole(page);
              this.#open.take(page, at, reader.position);
            }
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
          let page = this.#place(address, at);
          if (page >= 0 && salvage && this.#order.isBack(page) && !(await this.#isInOrder(page))) page = -1;
          if (page >= 0) {
            this.#count("zero", page);
            if (salvage) {
              this.#order.whole(page);
              this.#open.came(page);
            }
            if (byte === 0) this.index.zero(page);
            else {
              frame.report(QEMU_MIGRATION_RULES.fill, at, `a page of bytes 0x${byte.toString(16)}`);
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
            frame.fatal(
              QEMU_MIGRATION_RULES.blockList,
              at,
              "a second block list, or one that continues a block",
            );
          this.#listed = true;
          await this.#list.read(address, at);
          this.#isListWhole = true;
          break;
        case FLAG.eos:
          if (flags !== kind || address !== 0)
            frame.fatal(
              QEMU_MIGRATION_RULES.flags,
              at,
              `an end mark with 0x${address.toString(16)} and ${flagNames(flags)}`,
            );
          // before QEMU 8.1 multifd channels meet at the end of every part
          if (this.flushes === 0) await this.#meet();
          this.#end = frame.position;
          this.#open.close();
          return;
        case FLAG.multifdFlush:
          this.flushes += 1;
          await this.#meet();
          break;
        case FLAG.hook:
          frame.fatal(QEMU_MIGRATION_RULES.unsupported, at, "a record of an RDMA migration");
          break;
        default:
          frame.fatal(QEMU_MIGRATION_RULES.flags, at, `a record's flags are ${flagNames(flags)}`);
      }
    }
  }

  /**
   * Takes the plain pages after the one at `address` that are in the window and are the block's next, all at
   * once: most streams consist mostly of such runs.
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
      for (let i = 1; i <= count; i += 1) if (this.index.has(page + i)) this.#countAgain(block, page + i);
    }
    block.counts.plain += count;
    if (this.#round !== undefined) this.#round.plain += count;
    this.#lastFrame = page + count;
    this.#order.came(page, count + 1);
    if (this.#options.salvage) {
      this.#order.whole(page + 1, count);
      this.#open.came(page + 1, count - 1);
      const last = reader.position + (count - 1) * spacing;
      this.#open.take(page + count, last, last + spacing);
    }
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
    this.#current = this.#list.byName.get(name);
    if (this.#current === undefined && this.#options.salvage)
      frame.fatal(QEMU_MIGRATION_RULES.unknownBlock, at, `no block '${name}' is in the block list`);
    if (this.#current === undefined)
      frame.report(QEMU_MIGRATION_RULES.unknownBlock, at, `no block '${name}' is in the block list`);
  }

  /** Whether a page that comes before the last one begins a round, and isn't one whose address is damaged. */
  async #isInOrder(page: number): Promise<boolean> {
    // compressing threads finish out of order
    if (this.#isCompressed) return true;
    const { reader } = this.#frame;
    const block = this.#current;
    const ready = reader.need(ramRecord.size);
    let next: number | undefined;
    if (block !== undefined && (ready === true || (await ready))) {
      const low = reader.view.getUint32(reader.at + 4);
      const address = reader.view.getUint32(reader.at) * TWO_32 + low - (low % this.#options.pageSize);
      if ((low & FLAG.continue) !== 0 && address < block.length)
        next = block.firstFrame + address / this.#options.pageSize;
    }
    return this.#order.settle(page, next, this.#isFirst);
  }

  /** Frame of the page at `address` of the current block, or -1 after a finding. */
  #place(address: number, at: number): number {
    const block = this.#current;
    const { pageSize } = this.#options;
    if (block === undefined) {
      if (!this.#named) this.#frame.report(QEMU_MIGRATION_RULES.noBlock, at, "a page of no block");
      return -1;
    }
    if (address >= block.length || address % pageSize !== 0) {
      const problem = this.#options.salvage
        ? this.#frame.fatal.bind(this.#frame)
        : this.#frame.report.bind(this.#frame);
      problem(
        QEMU_MIGRATION_RULES.outside,
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
    // compressing threads finish out of order: small steps back don't begin a new round
    const back = sort === "compressed" ? DISORDER : 0;
    if (page + back <= this.#lastFrame || this.#round === undefined) this.#startRound();
    // in the first round addresses only ascend
    if ((this.rounds.length > 1 || back > 0) && this.index.has(page)) this.#countAgain(block, page);
    this.#order.came(page);
    this.#lastFrame = back === 0 ? page : Math.max(page, this.#lastFrame);
    if (this.#round !== undefined) this.#round[sort] += 1;
  }

  #countAgain(block: RamBlock, page: number): void {
    block.counts.again += 1;
    if (this.#options.forReading) this.again.add(page);
    // what was taken back comes again in any round
    if (!this.#isUndone) this.#isFirst = false;
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
    const { pageSize, salvage } = this.#options;
    if (reader.available < xbzrleHeader.size) await frame.need(xbzrleHeader.size, "a difference");
    const encoding = reader.view.getUint8(reader.at);
    const length = reader.view.getUint16(reader.at + 1);
    void reader.skip(xbzrleHeader.size);
    if (encoding !== 1 || length > pageSize)
      frame.fatal(
        QEMU_MIGRATION_RULES.xbzrle,
        at,
        `a difference of encoding ${encoding} and ${length} bytes`,
      );
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
    if (salvage && this.#order.isBack(page) && !(await this.#isInOrder(page))) return;
    if (salvage) this.#open.takeDelta(page, at, content + length);
    this.#count("xbzrle", page);
    if (salvage && this.#order.lacks(page)) this.index.lost(page, LOST.stale);
    else if (wrong !== undefined) {
      frame.report(
        QEMU_MIGRATION_RULES.xbzrle,
        at,
        `the difference of page 0x${address.toString(16)} ${wrong}`,
      );
      this.index.lost(page, LOST.delta);
    } else if (!this.index.delta(page, content, length)) {
      frame.report(
        QEMU_MIGRATION_RULES.xbzrleBase,
        at,
        `a difference to page 0x${address.toString(16)}, which has no content`,
      );
      this.index.lost(page, LOST.base);
    }
    if (this.index.needsSettling) await this.index.settle();
  }

  async #compressed(address: number, at: number): Promise<void> {
    const frame = this.#frame;
    const { pageSize, checkCompressed } = this.#options;
    this.#isCompressed = true;
    const content = frame.position;
    const length = await frame.u32("a compressed page");
    if (length > compressedLimit(pageSize))
      frame.fatal(
        QEMU_MIGRATION_RULES.compressLength,
        at,
        `a page of ${pageSize} bytes compressed to ${length}`,
      );
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
        frame.report(
          QEMU_MIGRATION_RULES.compressData,
          at,
          `page 0x${address.toString(16)}: ${error.message}`,
        );
        this.index.lost(page, LOST.zlib);
        return;
      }
    }
    this.#order.whole(page);
    // contents that unpack have all their bytes
    this.#open.came(page);
    this.index.zlib(page, content);
  }
}
