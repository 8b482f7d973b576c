// over 350 lines: one walk over a stream, a state at a time
import { viewOf } from "../../binary/layout.js";
import type { AbsentReason } from "../../guest/absent.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import { ByteReader } from "../../io/byte-reader.js";
import { type ByteSource, type ByteStream, bytesSource, isByteSource } from "../../io/byte-source.js";
import type { PageDecompressor } from "../../io/codecs/codec.js";
import { Report } from "../../findings/report.js";
import { FormatError } from "../../findings/errors.js";
import { type Configuration, readConfiguration } from "./configuration.js";
import type { Channels } from "./channels/channels.js";
import { DeviceSections } from "./devices/sections.js";
import { Frame } from "./frame.js";
import { findStreamHead, withRamNamed } from "./head.js";
import type { HeadRam, StreamHead } from "./stream-head.js";
import {
  commandHeader,
  commandName,
  DEFAULT_PAGE_SIZE,
  fileHeader,
  ORDER,
  QEVM_MAGIC,
  QEVM_VERSION,
  SECTION,
  sectionId,
} from "./layout.js";
import { unpluggedPages } from "./machine/memory-devices.js";
import { absenceOf } from "./ram/absence.js";
import { type BlockPages, countPages, type RamBlock } from "./ram/blocks.js";
import { RamReader } from "./ram/records.js";
import { StreamSalvage } from "./salvage.js";
import type { QevmStream } from "./stream.js";
import type { Spool } from "../../io/spool.js";
import { QEMU_MIGRATION_RULES } from "./rules.js";
import type { CommandInfo, SectionInfo } from "./devices/section.js";
import { SectionEnds } from "./devices/section-ends.js";

export interface ReadOptions {
  /** Where the stream begins in its input; what is read in order is there already. Default 0. */
  readonly start?: number;
  /** Index what reading memory needs. */
  readonly forReading?: boolean;
  /** Decompress every page of the compress capability, to know which are damaged. */
  readonly checkCompressed?: boolean;
  readonly zlib?: PageDecompressor | undefined;
  readonly spool?: (() => Spool) | undefined;
  /** Read on after damage, at the next place where records or sections go on; pages that can't be right are left out. */
  readonly salvage?: boolean;
  /** What is known of a damaged head: reading begins after it. */
  readonly head?: StreamHead;
  /** Captured connections beside the stream: multifd channels, a cpr channel. */
  readonly channels?: readonly ByteSource[] | undefined;
  /** Files of memory that is not in the stream, by the names of its blocks. */
  readonly backing?: ReadonlyMap<string, ByteSource> | undefined;
  readonly progress?: ((done: number, total: number | undefined) => void) | undefined;
}

/** Window of the reader: so much that two threads read it sooner than one. */
const WINDOW = 4 << 20;
/** Commands listed; a hostile stream may consist of them. */
const MOST_COMMANDS = 1000;
/** Bytes of a dirty-bitmap section that says that there is none. */
const NO_BITMAPS = 1;

/**
 * Reads a QEVM stream whole. What is wrong goes to `diagnostics`; what could be read in spite of it is returned.
 *
 * States of the walk: header → configuration → sections until the end mark → description. RAM records say
 * their own length; a device section ends where the description (found from the end of the file beforehand)
 * says, or, for lack of that, at the footer that names it.
 */
export async function readStream(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  options: ReadOptions = {},
): Promise<QevmStream> {
  const walk = new StreamWalk(input, diagnostics, options);
  try {
    await walk.run();
    // zeros look like the end
    const again = await readPastHead(input, diagnostics, options, walk);
    if (again !== undefined) return again;
    await walk.readEnd();
  } catch (error) {
    // what was read before holds
    if (!(error instanceof FormatError)) throw error;
    const again = await readPastHead(input, diagnostics, options, walk);
    if (again !== undefined) return again;
    const { offset = walk.frame.position, recordRef = walk.frame.record } = error.place;
    diagnostics.report(error.rule, { offset, record: recordRef }, error.message);
  }
  await walk.settle();
  return walk.finish();
}

/** Reads a stream whose head stopped the walk, from what is known of it; undefined where that isn't why, or nothing is. */
async function readPastHead(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  options: ReadOptions,
  { hasHead, pageSize }: StreamWalk,
): Promise<QevmStream | undefined> {
  const { salvage = false, head, start = 0 } = options;
  if (!salvage || head !== undefined || hasHead || !isByteSource(input)) return undefined;
  const found = await findStreamHead(input, start, pageSize);
  if (found === undefined) return undefined;
  // what devices say of RAM may name a block whose name is lost
  const first = await readStream(input, new Report(input.name), { ...options, head: found });
  return readStream(input, diagnostics, { ...options, head: withRamNamed(found, first) });
}

class StreamWalk {
  readonly frame: Frame;
  readonly #input: ByteSource | ByteStream;
  readonly #options: ReadOptions;
  readonly #diagnostics: Diagnostics;
  readonly #start: number;
  readonly #ends: SectionEnds;
  readonly #devices: DeviceSections;
  readonly #sections: SectionInfo[] = [];
  readonly #byId = new Map<number, SectionInfo>();
  readonly #commands: CommandInfo[] = [];
  #configuration: Configuration = { capabilities: [] };
  #pageSize = DEFAULT_PAGE_SIZE;
  #ram: RamReader | undefined;
  #ramSection: SectionInfo | undefined;
  #ordinal = 0;
  #complete = false;
  #channels: Channels | undefined;
  #postcopy = false;
  #sectionAt = 0;
  #isHeadDoubted = false;
  readonly #salvage: StreamSalvage | undefined;

  constructor(input: ByteSource | ByteStream, diagnostics: Diagnostics, options: ReadOptions) {
    this.#input = input;
    this.#options = options;
    this.#diagnostics = diagnostics;
    this.#start = options.start ?? 0;
    const reader = new ByteReader(input, { window: WINDOW, start: this.#start });
    this.frame = new Frame(reader, diagnostics);
    this.#ends = new SectionEnds(this.frame);
    this.#devices = new DeviceSections(this.frame, this.#ends, this.#start);
    if (options.salvage === true && isByteSource(input))
      this.#salvage = new StreamSalvage(input, this.frame, {
        ram: () => this.#ram,
        ramSection: () => this.#ramSection,
        sectionAt: () => this.#sectionAt,
        endOfPart: (section) => this.#ends.read(section),
      });
  }

  get pageSize(): number {
    return this.#devices.description?.pageSize ?? this.#pageSize;
  }

  /** Whether the list of RAM blocks was read whole, and no record names another block. */
  get hasHead(): boolean {
    return this.#ram?.isListed === true && !this.#isHeadDoubted;
  }

  /** Goes on after a damaged head. */
  async #runFrom({ configuration, at, ram }: StreamHead, input: ByteSource): Promise<void> {
    await this.#devices.findDescription(input);
    this.#configuration = configuration;
    this.#pageSize = configuration.pageSize ?? this.#pageSize;
    this.frame.reader = new ByteReader(input, { window: WINDOW, start: at });
    if (ram === undefined) return;
    try {
      await this.#goOnWithRam(ram);
    } catch (error) {
      if (!(error instanceof FormatError) || this.#salvage === undefined) throw error;
      await this.#salvage.readOn(error);
    }
  }

  /** Reads on in the records of RAM, whose list was mended. */
  async #goOnWithRam({ section: offset, id, blocks, block, address }: HeadRam): Promise<void> {
    const section: SectionInfo = {
      type: "START",
      id,
      name: "ram",
      instance: 0,
      version: 4,
      offset,
      size: 0,
      parts: 0,
      ended: false,
    };
    this.#byId.set(id, section);
    this.#sections.push(section);
    const ram = await this.#newRam(section);
    await ram.adopt(blocks);
    const first = ram.blocks.find(({ name }) => name === block);
    if (first !== undefined) ram.resume(first, address, 0);
    await ram.readRecords();
    await this.#ends.read(section);
  }

  async run(): Promise<void> {
    const { frame } = this;
    const known = this.#options.head;
    if (known !== undefined && isByteSource(this.#input)) {
      await this.#runFrom(known, this.#input);
      await this.#runSections();
      return;
    }
    const ready = frame.reader.need(fileHeader.size);
    if (ready !== true) await ready;
    const head = frame.reader.peek(fileHeader.size);
    if (head.length < 4 || viewOf(head).getUint32(0) !== QEVM_MAGIC)
      frame.fatal(QEMU_MIGRATION_RULES.magic, frame.position, "the file does not begin with QEVM");
    await frame.need(fileHeader.size, "the header");
    const { version } = fileHeader.read(frame.reader.view, frame.reader.at, ORDER);
    if (version !== QEVM_VERSION)
      frame.fatal(QEMU_MIGRATION_RULES.version, frame.position + 4, `version ${version}`);
    frame.reader.take(fileHeader.size);
    if (isByteSource(this.#input)) await this.#devices.findDescription(this.#input);
    await this.#runSections();
  }

  async #runSections(): Promise<void> {
    while (await this.#sectionOrNext()) this.#reportProgress();
    this.#complete = true;
  }

  /** What follows the end mark. */
  async readEnd(): Promise<void> {
    await this.#devices.readDescription();
    this.#devices.reconcile(this.#sections, this.#ram === undefined ? undefined : this.#pageSize);
    await this.#trailing();
  }

  #reportProgress(): void {
    this.#options.progress?.(this.frame.position, this.frame.reader.size);
  }

  /** As `#section`; what is damaged after the list of RAM blocks is passed over where that is asked for. */
  async #sectionOrNext(): Promise<boolean> {
    if (this.#salvage === undefined || !this.hasHead) return this.#section();
    try {
      return await this.#section();
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      this.#isHeadDoubted =
        this.#options.head === undefined && error.rule === QEMU_MIGRATION_RULES.unknownBlock;
      if (this.#isHeadDoubted) throw error;
      return this.#salvage.readOn(error);
    }
  }

  /** Reads one section; false at the stream's end mark. */
  async #section(): Promise<boolean> {
    const { frame } = this;
    frame.record = undefined;
    const offset = frame.position;
    this.#sectionAt = offset;
    const ready = frame.reader.need(1);
    if (ready !== true && !(await ready)) {
      this.#notEnded();
      frame.fatal(QEMU_MIGRATION_RULES.noEnd, offset, "the file ends without the stream's end mark");
    }
    const type = frame.reader.take(1)[0] ?? 0;
    const record = (name: string): void => {
      frame.record = { layer: "qevm", index: this.#ordinal, type: name };
      this.#ordinal += 1;
    };
    switch (type) {
      case SECTION.eof:
        this.#notEnded((section) => this.#needsNoEnd(section));
        return false;
      case SECTION.configuration:
        record("CONFIGURATION");
        this.#configuration = await readConfiguration(frame, this.#devices.description?.configuration);
        this.#pageSize = this.#configuration.pageSize ?? this.#pageSize;
        return true;
      case SECTION.command:
        record("COMMAND");
        await this.#command(offset);
        return true;
      case SECTION.start:
      case SECTION.full:
        record(type === SECTION.start ? "START" : "FULL");
        await this.#begin(type === SECTION.start ? "START" : "FULL", offset);
        return true;
      case SECTION.part:
      case SECTION.end:
        record(type === SECTION.part ? "PART" : "END");
        await this.#continue(type === SECTION.end, offset);
        return true;
      default:
        return frame.fatal(
          QEMU_MIGRATION_RULES.sectionType,
          offset,
          `no section begins with 0x${type.toString(16)}`,
        );
    }
  }

  /**
   * Whether a stream is whole without the END of a section: dirty-bitmap without bitmaps has a mark of its own instead,
   * RAM of a background snapshot comes page by page, each once, and just stops when all are there.
   */
  #needsNoEnd(section: SectionInfo): boolean {
    if (section.name === "dirty-bitmap") return section.size === NO_BITMAPS && section.parts === 0;
    if (section !== this.#ramSection || this.#ram === undefined) return false;
    const { blocks } = this.#ram;
    const pages = countPages(this.#ram, this.#pageSize);
    this.#devices.decodeKnown();
    const lacks = (block: RamBlock): boolean => {
      const { missing = block.pages, lost = 0 } = pages.get(block) ?? {};
      return lost > 0 || missing > unpluggedPages(block, this.#devices.devices);
    };
    if (blocks.some((block) => block.counts.again > 0 || lacks(block))) return false;
    this.frame.report(
      QEMU_MIGRATION_RULES.everyPageOnce,
      section.offset,
      "RAM has no END, but every page is there: a background snapshot",
    );
    return true;
  }

  #notEnded(isWhole: (section: SectionInfo) => boolean = () => false): void {
    for (const section of this.#sections)
      if (section.type === "START" && !section.ended && !isWhole(section))
        this.frame.report(
          QEMU_MIGRATION_RULES.notEnded,
          this.frame.position,
          `section ${section.id} '${section.name}' has no END`,
        );
  }

  async #command(offset: number): Promise<void> {
    const { frame } = this;
    await frame.need(commandHeader.size, "a command");
    const { command, length } = commandHeader.read(frame.reader.view, frame.reader.at, ORDER);
    frame.reader.take(commandHeader.size);
    await frame.skip(length, "a command");
    if (commandName(command) === "POSTCOPY_ADVISE") this.#postcopy = true;
    if (this.#commands.length < MOST_COMMANDS)
      this.#commands.push({ offset, command: commandName(command), length });
  }

  async #begin(type: "START" | "FULL", offset: number): Promise<void> {
    const { frame } = this;
    const id = await frame.u32("a section's head");
    const name = await frame.name("a section");
    const instance = await frame.u32("a section's head");
    const version = await frame.u32("a section's head");
    if (frame.record !== undefined) frame.record = { ...frame.record, type: `${type} ${name}` };
    const section: SectionInfo = {
      type,
      id,
      name,
      instance,
      version,
      offset,
      size: 0,
      parts: 0,
      ended: type === "FULL",
    };
    if (this.#byId.has(id))
      frame.report(QEMU_MIGRATION_RULES.sectionTwice, offset, `section number ${id} is used before`);
    this.#byId.set(id, section);
    this.#sections.push(section);
    if (name === "ram" && type === "START" && this.#ram === undefined) await this.#beginRam(section);
    else {
      // device state comes after RAM, whether or not RAM has an END
      if (this.#ramSection !== undefined && (type === "FULL" || this.#ramSection.ended))
        await this.#devices.keepTail();
      await this.#devices.read(section);
    }
  }

  async #beginRam(section: SectionInfo): Promise<void> {
    const { frame } = this;
    if (section.version !== 4)
      frame.fatal(QEMU_MIGRATION_RULES.ramVersion, section.offset, `RAM of version ${section.version}`);
    const ram = await this.#newRam(section);
    const at = frame.position;
    await ram.readRecords();
    section.size = frame.position - at;
    await this.#ends.read(section);
  }

  async #newRam(section: SectionInfo): Promise<RamReader> {
    const { frame } = this;
    const described = this.#devices.description?.pageSize;
    if (this.#configuration.pageSize === undefined && described !== undefined && isPageSize(described))
      this.#pageSize = described;
    const { capabilities } = this.#configuration;
    const { forReading = false, checkCompressed = false, salvage = false, zlib, spool } = this.#options;
    const main = isByteSource(this.#input) ? this.#input : bytesSource(new Uint8Array(0));
    const channels = await this.#readChannels(section.offset);
    const ram = new RamReader(frame, channels?.joinedWith(main) ?? main, {
      pageSize: this.#pageSize,
      ignoreShared: capabilities.includes("x-ignore-shared"),
      mappedRam: capabilities.includes("mapped-ram"),
      postcopy: this.#postcopy,
      streamStart: this.#start,
      forReading,
      checkCompressed,
      salvage,
      beside: channels,
      zlib,
      spool,
    });
    this.#ram = ram;
    this.#ramSection = section;
    return ram;
  }

  async #readChannels(offset: number): Promise<Channels | undefined> {
    const { channels = [], backing = new Map(), forReading = false, spool } = this.#options;
    if (channels.length + backing.size === 0) return undefined;
    const { Channels } = await import("./channels/channels.js");
    this.#channels = await Channels.read(channels, {
      pageSize: this.#pageSize,
      backing,
      forReading,
      spool,
      report: (rule, message) => this.frame.report(rule, offset, message),
    });
    return this.#channels;
  }

  /** Takes over what came beside the stream: to be called when it was read. */
  async settle(): Promise<void> {
    await this.#ram?.finish();
  }

  async #continue(isEnd: boolean, offset: number): Promise<void> {
    const { frame } = this;
    await frame.need(sectionId.size, "a section's head");
    const { id } = sectionId.read(frame.reader.view, frame.reader.at, ORDER);
    frame.reader.take(sectionId.size);
    const section = this.#byId.get(id);
    if (section?.type !== "START")
      return frame.fatal(QEMU_MIGRATION_RULES.sectionId, offset, `no section was started with number ${id}`);
    if (frame.record !== undefined)
      frame.record = { ...frame.record, type: `${frame.record.type} ${section.name}` };
    section.parts += 1;
    if (section === this.#ramSection && this.#ram !== undefined) {
      await this.#ram.readRecords();
      await this.#ends.read(section);
    } else {
      await frame.skip(await this.#ends.search(section), "a section");
      await this.#ends.read(section);
    }
    if (isEnd) section.ended = true;
  }

  async #trailing(): Promise<void> {
    const { frame } = this;
    const { reader } = frame;
    const more = reader.need(1);
    if (more !== true && !(await more)) return;
    const rest = reader.size === undefined ? "more" : `${reader.size - frame.position}`;
    frame.report(QEMU_MIGRATION_RULES.trailing, frame.position, `${rest} bytes follow the stream`);
  }

  /** Reports the pages that blocks lack; where they are, if that is known. */
  #reportMissing(pages: ReadonlyMap<RamBlock, BlockPages>, offset: number): Map<RamBlock, AbsentReason> {
    const absences = new Map<RamBlock, AbsentReason>();
    if (this.#configuration.capabilities.includes("x-ignore-shared")) return absences;
    const travel = {
      flushes: this.#ram?.flushes ?? 0,
      handedOver: this.#channels?.handedOver ?? new Set<string>(),
      hasContents: [...pages.keys()].some(
        ({ counts }) => counts.plain + counts.xbzrle + counts.compressed > 0,
      ),
    };
    for (const [block, { missing: unsent }] of pages) {
      const missing = unsent - Math.min(unsent, unpluggedPages(block, this.#devices.devices));
      if (missing === 0) continue;
      // of a stream that was cut nothing can be told
      const isWhole =
        this.#complete &&
        this.#ramSection?.ended === true &&
        this.#options.head === undefined &&
        !(this.#salvage?.lost.length ?? 0);
      const reason = isWhole ? absenceOf(block, { missing }, travel) : undefined;
      if (reason !== undefined) absences.set(block, reason);
      const where =
        this.#complete || this.#salvage !== undefined ? "the stream" : "what was read of the stream";
      const what = `block '${block.name}': ${missing} of ${block.pages} pages are not in ${where}`;
      if (reason === undefined) this.frame.report(QEMU_MIGRATION_RULES.missingPages, offset, what);
      else this.frame.report(QEMU_MIGRATION_RULES.sentElsewhere, offset, `${what}: ${reason.text}`);
    }
    return absences;
  }

  finish(): QevmStream {
    const { frame } = this;
    frame.record = undefined;
    const end = frame.position;
    this.#devices.decodeKnown();
    // damage further on doesn't take from the memory that was read
    const pages =
      this.#ram === undefined ? new Map<RamBlock, BlockPages>() : countPages(this.#ram, this.#pageSize);
    const absences = this.#reportMissing(pages, this.#ramSection?.offset ?? end);
    if (this.#complete && this.#ram === undefined)
      frame.report(QEMU_MIGRATION_RULES.noRam, end, "the stream holds no RAM");
    const { devices, description } = this.#devices;
    return {
      source: this.#diagnostics.source,
      start: this.#start,
      configuration: this.#configuration,
      pageSize: this.#pageSize,
      sections: this.#sections,
      commands: this.#commands,
      ram: this.#ram,
      pages,
      absences,
      devices,
      description:
        description === undefined
          ? undefined
          : {
              offset: description.offset,
              length: description.length,
              devices: description.devices.length,
            },
      complete: this.#complete,
      lost: [...(this.#options.head?.lost ?? []), ...(this.#salvage?.lost ?? [])],
      headFacts: this.#options.head?.facts ?? [],
      end,
    };
  }
}

function isPageSize(value: number): boolean {
  return value >= 1024 && value <= 1 << 24 && (value & (value - 1)) === 0;
}
