import { latin1, viewOf } from "../../binary/layout.js";
import type { Report } from "../../findings/report.js";
import { ByteReader } from "../../io/byte-reader.js";
import { type ByteSource, type ByteStream, bytesSource, isByteSource } from "../../io/byte-source.js";
import type { PageCodec } from "../../io/codecs/codec.js";
import { FormatError } from "../../io/errors.js";
import { type Configuration, readConfiguration } from "./configuration.js";
import {
  type Description,
  DescriptionError,
  type DeviceDescription,
  findDescription,
  LARGEST_DESCRIPTION,
  parseDescription,
} from "./description.js";
import { decodeDevice, DeviceError, type DeviceState } from "./devices.js";
import { findFooter, findNextHead } from "./footer.js";
import { Frame, Stopped } from "./frame.js";
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
import { type BlockPages, countPages, type RamBlock, RamReader } from "./ram.js";
import type { Spool } from "./ram-index.js";
import { QEVM } from "./rules.js";

/** One section of the stream, RAM parts joined. */
export interface SectionInfo {
  readonly type: "START" | "FULL";
  readonly id: number;
  readonly name: string;
  readonly instance: number;
  readonly version: number;
  /** Of its type octet, from the start of the input. */
  readonly offset: number;
  /** Octets of its data; for a section in parts those of the first. */
  size: number;
  /** PART and END sections that followed. */
  parts: number;
  ended: boolean;
}

export interface CommandInfo {
  readonly offset: number;
  readonly command: string;
  readonly length: number;
}

/** A whole stream, its memory indexed. */
export interface QevmStream {
  readonly source: string;
  /** Where the stream begins in its input. */
  readonly start: number;
  readonly configuration: Configuration;
  readonly pageSize: number;
  readonly sections: readonly SectionInfo[];
  readonly commands: readonly CommandInfo[];
  readonly ram: RamReader | undefined;
  readonly pages: ReadonlyMap<RamBlock, BlockPages>;
  readonly devices: readonly DeviceState[];
  readonly description:
    | { readonly offset: number; readonly length: number; readonly devices: number }
    | undefined;
  /** True when the end mark was reached. */
  readonly complete: boolean;
  /** Octets of the input that belong to the stream. */
  readonly end: number;
}

export interface ReadOptions {
  /** Where the stream begins; default 0. */
  readonly start?: number;
  /** Index what reading memory needs. */
  readonly forReading?: boolean;
  /** Decompress every page of the compress capability, to know which are damaged. */
  readonly checkCompressed?: boolean;
  readonly zlib?: PageCodec | undefined;
  readonly spool?: (() => Spool) | undefined;
  readonly progress?: ((done: number, total: number | undefined) => void) | undefined;
}

/** Window of the reader: large enough that files read the next one while this one is decoded. */
const WINDOW = 512 << 10;
/** Device state of a stream that can't be read twice is kept while it is looked through. */
const LARGEST_TAIL = 64 << 20;
/** Decoded device state in all. */
const MOST_DEVICE_OCTETS = 32 << 20;

/**
 * Reads a QEVM stream whole. Everything wrong is in `report`; what could be read in spite of it is returned.
 *
 * States of the walk: header → configuration → sections until the end mark → description. RAM records tell
 * their own length; a device section ends where the description (found from the end of the file beforehand)
 * says, or, for lack of that, at the footer that names it.
 */
export async function readStream(
  input: ByteSource | ByteStream,
  report: Report,
  options: ReadOptions = {},
): Promise<QevmStream> {
  const walk = new StreamWalk(input, report, options);
  try {
    await walk.run();
  } catch (error) {
    if (error instanceof FormatError) {
      report.add(
        { code: error.code, severity: "error", spec: error.place.spec ?? "", explanation: "" },
        { offset: error.place.offset ?? walk.frame.position, record: walk.frame.record },
        error.message,
      );
    } else if (!(error instanceof Stopped)) throw error;
  }
  return walk.finish();
}

interface LocatedDescription extends Description {
  readonly offset: number;
  readonly length: number;
}

class StreamWalk {
  readonly frame: Frame;
  readonly #input: ByteSource | ByteStream;
  readonly #options: ReadOptions;
  readonly #report: Report;
  readonly #start: number;
  readonly #sections: SectionInfo[] = [];
  readonly #byId = new Map<number, SectionInfo>();
  readonly #commands: CommandInfo[] = [];
  readonly #devices: DeviceState[] = [];
  /** Data of device sections met before their description. */
  readonly #undecoded: { section: SectionInfo; data: Uint8Array }[] = [];
  #deviceOctets = 0;
  #configuration: Configuration = { capabilities: [] };
  #pageSize = DEFAULT_PAGE_SIZE;
  #ram: RamReader | undefined;
  #ramSection: SectionInfo | undefined;
  #description: LocatedDescription | undefined;
  #described = new Map<string, DeviceDescription>();
  /** Undefined until the first section has shown whether footers are written. */
  #footers: boolean | undefined;
  #ordinal = 0;
  #complete = false;
  #kept = false;
  #postcopy = false;

  constructor(input: ByteSource | ByteStream, report: Report, options: ReadOptions) {
    this.#input = input;
    this.#options = options;
    this.#report = report;
    this.#start = options.start ?? 0;
    const reader = new ByteReader(input, {
      window: WINDOW,
      ...(isByteSource(input) ? { start: this.#start } : {}),
    });
    this.frame = new Frame(reader, report);
  }

  async run(): Promise<void> {
    const { frame } = this;
    const ready = frame.reader.need(fileHeader.size);
    if (ready !== true) await ready;
    const head = frame.reader.peek(fileHeader.size);
    if (head.length < 4 || viewOf(head).getUint32(0) !== QEVM_MAGIC)
      frame.halt(QEVM.magic, frame.position, "the file does not begin with QEVM");
    await frame.need(fileHeader.size, "the header");
    const { version } = fileHeader.read(frame.reader.view, frame.reader.at, ORDER);
    if (version !== QEVM_VERSION) frame.halt(QEVM.version, frame.position + 4, `version ${version}`);
    frame.reader.take(fileHeader.size);
    if (isByteSource(this.#input)) await this.#loadDescription(this.#input);
    while (await this.#section()) this.#reportProgress();
    this.#complete = true;
    await this.#tail();
  }

  #reportProgress(): void {
    this.#options.progress?.(this.frame.position, this.frame.reader.size);
  }

  async #loadDescription(source: ByteSource): Promise<void> {
    const place = await findDescription(source, this.#start);
    if (place === undefined) return;
    const bytes = new Uint8Array(place.length);
    const read = source.read(place.offset, bytes);
    if (read instanceof Promise) await read;
    this.#describe(bytes, place.offset);
  }

  #describe(bytes: Uint8Array, offset: number): void {
    this.frame.record = undefined;
    try {
      this.#description = { ...parseDescription(bytes), offset, length: bytes.length };
    } catch (error) {
      if (!(error instanceof DescriptionError)) throw error;
      this.frame.add(QEVM.descriptionJson, offset, `the description: ${error.message}`);
      return;
    }
    for (const device of this.#description.devices)
      this.#described.set(`${device.section} ${device.instance}`, device);
  }

  /** Reads one section; false at the stream's end mark. */
  async #section(): Promise<boolean> {
    const { frame } = this;
    frame.record = undefined;
    const offset = frame.position;
    const ready = frame.reader.need(1);
    if (ready !== true && !(await ready)) {
      this.#notEnded();
      frame.halt(QEVM.noEnd, offset, "the file ends without the stream's end mark");
    }
    const type = frame.reader.take(1)[0] ?? 0;
    const record = (name: string): void => {
      frame.record = { layer: "qevm", index: this.#ordinal, type: name };
      this.#ordinal += 1;
    };
    switch (type) {
      case SECTION.eof:
        this.#notEnded();
        return false;
      case SECTION.configuration:
        record("CONFIGURATION");
        this.#configuration = await readConfiguration(frame, this.#description?.configuration);
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
        return frame.halt(QEVM.sectionType, offset, `no section begins with 0x${type.toString(16)}`);
    }
  }

  #notEnded(): void {
    for (const section of this.#sections)
      if (section.type === "START" && !section.ended)
        this.frame.add(
          QEVM.notEnded,
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
    // a hostile stream may consist of commands
    if (this.#commands.length < 1000) this.#commands.push({ offset, command: commandName(command), length });
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
    if (this.#byId.has(id)) frame.add(QEVM.sectionTwice, offset, `section number ${id} is used before`);
    this.#byId.set(id, section);
    this.#sections.push(section);
    if (name === "ram" && type === "START" && this.#ram === undefined) await this.#beginRam(section);
    else await this.#device(section);
  }

  async #beginRam(section: SectionInfo): Promise<void> {
    const { frame } = this;
    if (section.version !== 4)
      frame.halt(QEVM.ramVersion, section.offset, `RAM of version ${section.version}`);
    const described = this.#description?.pageSize;
    if (this.#configuration.pageSize === undefined && described !== undefined && isPageSize(described))
      this.#pageSize = described;
    const { capabilities } = this.#configuration;
    const { forReading = false, checkCompressed = false, zlib, spool } = this.#options;
    this.#ram = new RamReader(
      frame,
      isByteSource(this.#input) ? this.#input : bytesSource(new Uint8Array(0)),
      {
        pageSize: this.#pageSize,
        ignoreShared: capabilities.includes("x-ignore-shared"),
        mappedRam: capabilities.includes("mapped-ram"),
        postcopy: this.#postcopy,
        streamStart: this.#start,
        forReading,
        checkCompressed,
        zlib,
        spool,
      },
    );
    this.#ramSection = section;
    const at = frame.position;
    await this.#ram.readRecords();
    section.size = frame.position - at;
    await this.#footer(section);
  }

  async #continue(isEnd: boolean, offset: number): Promise<void> {
    const { frame } = this;
    await frame.need(sectionId.size, "a section's head");
    const { id } = sectionId.read(frame.reader.view, frame.reader.at, ORDER);
    frame.reader.take(sectionId.size);
    const section = this.#byId.get(id);
    if (section?.type !== "START")
      return frame.halt(QEVM.sectionId, offset, `no section was started with number ${id}`);
    if (frame.record !== undefined)
      frame.record = { ...frame.record, type: `${frame.record.type} ${section.name}` };
    section.parts += 1;
    if (section === this.#ramSection && this.#ram !== undefined) {
      await this.#ram.readRecords();
      await this.#footer(section);
    } else {
      const length = await this.#searchFooter(section);
      await frame.skip(length, "a section");
      await this.#footer(section);
    }
    if (isEnd) section.ended = true;
  }

  /** A section in one piece, or the start of one whose parts have a form of their own. */
  async #device(section: SectionInfo): Promise<void> {
    const { frame } = this;
    await this.#keepTail();
    const described = this.#described.get(`${section.name} ${section.instance}`);
    let length: number;
    if (described !== undefined && (await this.#footerStandsBehind(section, described.size))) {
      length = described.size;
    } else {
      length = await this.#searchFooter(section);
      if (described !== undefined)
        frame.add(
          QEVM.descriptionContradicts,
          section.offset,
          `'${section.name}' has ${length} octets, the description says ${described.size}`,
        );
    }
    section.size = length;
    const at = frame.position;
    if (this.#deviceOctets + length <= MOST_DEVICE_OCTETS) {
      const data = await frame.octets(length, `section '${section.name}'`);
      this.#deviceOctets += length;
      if (this.#description === undefined) this.#undecoded.push({ section, data });
      else this.#decode(section, data, at);
    } else await frame.skip(length, `section '${section.name}'`);
    await this.#footer(section);
  }

  #decode(section: SectionInfo, data: Uint8Array, at: number): void {
    const { frame } = this;
    const described = this.#described.get(`${section.name} ${section.instance}`);
    if (described === undefined) {
      frame.add(QEVM.foundByFooter, section.offset, `'${section.name}' is not in the description`);
      return;
    }
    if (described.size !== data.length) return;
    if (described.version !== section.version)
      frame.add(
        QEVM.descriptionContradicts,
        section.offset,
        `'${section.name}' has version ${section.version}, the description says ${described.version}`,
      );
    try {
      this.#devices.push(decodeDevice(data, described));
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      frame.add(QEVM.descriptionContradicts, at + error.offset, `'${section.name}': ${error.message}`);
    }
  }

  /** Whether a footer of this section stands `length` octets on, where footers are written at all. */
  async #footerStandsBehind(section: SectionInfo, length: number): Promise<boolean> {
    if (this.#footers === false) return true;
    const { reader } = this.frame;
    if (reader.size !== undefined && length > reader.size - reader.position) return false;
    const ready = reader.need(length + 1 + sectionId.size);
    if (ready !== true && !(await ready)) return this.#footers === undefined && reader.available >= length;
    const footer = viewOf(reader.peek(length + 1 + sectionId.size).subarray(length));
    return footer.getUint8(0) === SECTION.footer && sectionId.read(footer, 1, ORDER).id === section.id;
  }

  async #searchFooter(section: SectionInfo): Promise<number> {
    const { frame } = this;
    let length = this.#footers === false ? undefined : await findFooter(frame.reader, section.id);
    if (length === undefined && this.#footers !== true && this.#ramSection === undefined) {
      length = await findNextHead(frame.reader, section.id);
      if (length !== undefined)
        frame.add(
          QEVM.foundByNextHead,
          section.offset,
          `'${section.name}' ends where the next section begins`,
        );
    }
    return (
      length ??
      frame.halt(QEVM.unknownLength, section.offset, `the end of section '${section.name}' can't be found`)
    );
  }

  async #footer(section: SectionInfo): Promise<void> {
    const { frame } = this;
    if (this.#footers === false) return;
    const ready = frame.reader.need(1);
    if (ready !== true && !(await ready)) frame.truncated("a footer", 1 + sectionId.size);
    const isFooter = frame.reader.peek(1)[0] === SECTION.footer;
    if (this.#footers === undefined) {
      this.#footers = isFooter;
      if (!isFooter) return;
    }
    if (!isFooter)
      frame.halt(
        QEVM.footerMissing,
        frame.position,
        `section ${section.id} '${section.name}' ends without footer`,
      );
    await frame.need(1 + sectionId.size, "a footer");
    const { id } = sectionId.read(frame.reader.view, frame.reader.at + 1, ORDER);
    if (id !== section.id)
      frame.halt(QEVM.footerId, frame.position, `a footer of section ${id} ends section ${section.id}`);
    frame.reader.take(1 + sectionId.size);
  }

  /** A pipe's device state is kept in memory once RAM is through, so that its description is at hand. */
  async #keepTail(): Promise<void> {
    if (this.#kept || isByteSource(this.#input) || this.#ramSection?.ended !== true) return;
    this.#kept = true;
    const { reader } = this.frame;
    const base = reader.position;
    const ready = reader.need(LARGEST_TAIL);
    if (ready !== true) await ready;
    const tail = reader.peek(LARGEST_TAIL).slice();
    if (tail.length === LARGEST_TAIL)
      this.frame.add(QEVM.tailTooLarge, base, `more than ${LARGEST_TAIL} octets follow the memory`);
    const kept = bytesSource(tail);
    const source: ByteSource = {
      name: reader.name,
      size: base + tail.length,
      read: (offset, into) => kept.read(offset - base, into),
    };
    this.frame.reader = new ByteReader(source, { start: base, window: WINDOW });
    const record = this.frame.record;
    await this.#loadDescription(source);
    this.frame.record = record;
  }

  /** What stands behind the end mark: the description, or nothing. */
  async #tail(): Promise<void> {
    const { frame } = this;
    const { reader } = frame;
    const at = frame.position;
    const found = this.#description;
    const ready = reader.need(5);
    if (ready !== true) await ready;
    const head = reader.peek(5);
    if (head[0] === SECTION.description) {
      if (head.length < 5) frame.truncated("the description", 5 - head.length);
      const length = viewOf(head).getUint32(1);
      reader.take(5);
      if (found !== undefined && found.offset === frame.position) {
        await frame.skip(length, "the description");
      } else {
        if (length > LARGEST_DESCRIPTION)
          frame.halt(QEVM.descriptionLength, at, `a description of ${length} octets`);
        const whole = reader.need(length);
        if (whole !== true && !(await whole))
          frame.halt(
            QEVM.descriptionLength,
            at,
            `the description lacks ${length - reader.available} of its ${length} octets`,
          );
        const { position } = frame;
        this.#describe(reader.take(length).slice(), position);
      }
    } else if (found === undefined) {
      frame.add(QEVM.noDescription, at, "the stream has no description of its devices");
    }
    this.#reconcile();
    const more = reader.need(1);
    if (more === true || (await more)) {
      const rest = reader.size === undefined ? "more" : `${reader.size - frame.position}`;
      frame.add(QEVM.trailing, frame.position, `${rest} octets follow the stream`);
    }
  }

  /** Decodes sections that were met before the description, and compares it with the stream. */
  #reconcile(): void {
    const { frame } = this;
    const description = this.#description;
    if (description === undefined) return;
    for (const { section, data } of this.#undecoded.splice(0)) {
      const described = this.#described.get(`${section.name} ${section.instance}`);
      if (described !== undefined && described.size !== data.length)
        frame.add(
          QEVM.descriptionContradicts,
          section.offset,
          `'${section.name}' has ${data.length} octets, the description says ${described.size}`,
        );
      this.#decode(section, data, section.offset);
    }
    if (
      description.pageSize !== undefined &&
      this.#ram !== undefined &&
      description.pageSize !== this.#pageSize
    )
      frame.add(
        QEVM.descriptionContradicts,
        description.offset,
        `page size ${description.pageSize}, but memory has pages of ${this.#pageSize}`,
      );
    const have = new Set(this.#sections.map(({ name, instance }) => `${name} ${instance}`));
    for (const device of description.devices)
      if (!have.has(`${device.section} ${device.instance}`))
        frame.add(
          QEVM.descriptionContradicts,
          description.offset,
          `it describes '${device.section}' ${device.instance}, which the stream doesn't have`,
        );
  }

  finish(): QevmStream {
    const { frame } = this;
    frame.record = undefined;
    const end = frame.position;
    // damage further on doesn't take from the memory that was read
    const pages =
      this.#ram === undefined ? new Map<RamBlock, BlockPages>() : countPages(this.#ram, this.#pageSize);
    const notes = this.#configuration.capabilities.includes("x-ignore-shared");
    for (const [block, { missing }] of pages) {
      if (missing === 0 || notes) continue;
      frame.add(
        QEVM.missingPages,
        this.#ramSection?.offset ?? end,
        `block '${block.name}': ${missing} of ${block.pages} pages are not in the stream`,
      );
    }
    if (this.#complete && this.#ram === undefined) frame.add(QEVM.noRam, end, "the stream holds no RAM");
    return {
      source: this.#report.source,
      start: this.#start,
      configuration: this.#configuration,
      pageSize: this.#pageSize,
      sections: this.#sections,
      commands: this.#commands,
      ram: this.#ram,
      pages,
      devices: this.#devices,
      description:
        this.#description === undefined
          ? undefined
          : {
              offset: this.#description.offset,
              length: this.#description.length,
              devices: this.#description.devices.length,
            },
      complete: this.#complete,
      end,
    };
  }
}

function isPageSize(value: number): boolean {
  return value >= 4096 && value <= 1 << 24 && (value & (value - 1)) === 0;
}

/** Whether octets begin as a QEVM stream does. */
export function isQevm(head: Uint8Array): boolean {
  return latin1(head.subarray(0, 4)) === "QEVM";
}
