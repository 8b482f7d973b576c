import { viewOf } from "../../../binary/layout.js";
import type { RecordRef } from "../../../findings/finding.js";
import { ByteReader } from "../../../io/byte-reader.js";
import { type ByteSource, bytesSource } from "../../../io/byte-source.js";
import {
  type Description,
  DescriptionError,
  type DeviceDescription,
  findDescription,
  LARGEST_DESCRIPTION,
  parseDescription,
} from "./description.js";
import { decodeDevice, DeviceError, type DeviceState } from "./devices.js";
import type { Frame } from "../frame.js";
import { knownLayout } from "../machine/known-layouts.js";
import { SECTION } from "../layout.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";
import type { SectionEnds } from "./section-ends.js";
import type { SectionInfo } from "./section.js";

/** Window of a tail that is kept in memory. */
const TAIL_WINDOW = 256 << 10;
/** Device state of a stream that can't be read twice is kept while it is looked through. */
const LARGEST_TAIL = 64 << 20;
/** Decoded device state in all. */
const MOST_BYTES = 32 << 20;
/** Type byte and length of the description. */
const DESCRIPTION_HEAD = 5;

export interface LocatedDescription extends Description {
  /** Where its JSON begins in the input. */
  readonly offset: number;
  readonly length: number;
}

const keyOf = (section: string, instance: number): string => `${section} ${instance}`;

/** Sections of devices: found with the stream's description, decoded by it, compared with it. */
export class DeviceSections {
  readonly devices: DeviceState[] = [];
  readonly #frame: Frame;
  readonly #ends: SectionEnds;
  readonly #start: number;
  readonly #described = new Map<string, DeviceDescription>();
  /** Data of sections met before their description. */
  readonly #undecoded: { section: SectionInfo; data: Uint8Array; record: RecordRef | undefined }[] = [];
  #bytes = 0;
  #description: LocatedDescription | undefined;
  #isKept = false;

  /** @param start where the stream begins in its input. */
  constructor(frame: Frame, ends: SectionEnds, start: number) {
    this.#frame = frame;
    this.#ends = ends;
    this.#start = start;
  }

  get description(): LocatedDescription | undefined {
    return this.#description;
  }

  /** Looks for the description from the end of an input that can be read at any offset. */
  async findDescription(source: ByteSource): Promise<void> {
    const place = await findDescription(source, this.#start);
    if (place === undefined) return;
    const bytes = new Uint8Array(place.length);
    const read = source.read(place.offset, bytes);
    if (read instanceof Promise) await read;
    this.#describe(bytes, place.offset);
  }

  #describe(bytes: Uint8Array, offset: number): void {
    const frame = this.#frame;
    frame.record = undefined;
    try {
      this.#description = { ...parseDescription(bytes), offset, length: bytes.length };
    } catch (error) {
      if (!(error instanceof DescriptionError)) throw error;
      frame.report(QEMU_MIGRATION_RULES.descriptionJson, offset, `the description: ${error.message}`);
      return;
    }
    for (const device of this.#description.devices)
      this.#described.set(keyOf(device.section, device.instance), device);
  }

  /** A pipe's device state is kept in memory once RAM is through, so that its description is at hand. */
  async keepTail(): Promise<void> {
    const frame = this.#frame;
    const { reader } = frame;
    if (this.#isKept || reader.seekable) return;
    this.#isKept = true;
    const base = reader.position;
    const ready = reader.need(LARGEST_TAIL);
    if (ready !== true) await ready;
    const tail = reader.peek(LARGEST_TAIL).slice();
    if (tail.length === LARGEST_TAIL)
      frame.report(
        QEMU_MIGRATION_RULES.tailTooLarge,
        base,
        `more than ${LARGEST_TAIL} bytes follow the memory`,
      );
    const kept = bytesSource(tail);
    const source: ByteSource = {
      name: reader.name,
      size: base + tail.length,
      read: (offset, into) => kept.read(offset - base, into),
    };
    frame.reader = new ByteReader(source, { start: base, window: TAIL_WINDOW });
    const { record } = frame;
    await this.findDescription(source);
    frame.record = record;
  }

  /** Reads a section in one piece, or the start of one whose parts have a form of their own. */
  async read(section: SectionInfo): Promise<void> {
    const frame = this.#frame;
    const described = this.#described.get(keyOf(section.name, section.instance));
    if (described !== undefined && (await this.#ends.endsBehind(section, described.size))) {
      section.size = described.size;
    } else {
      section.size = await this.#ends.search(section);
      if (described !== undefined) this.#contradicts(section, described);
    }
    const at = frame.position;
    const what = `section '${section.name}'`;
    if (this.#bytes + section.size <= MOST_BYTES) {
      const data = await frame.bytes(section.size, what);
      this.#bytes += section.size;
      if (this.#description === undefined) this.#undecoded.push({ section, data, record: frame.record });
      else this.#decode(section, data, at);
    } else await frame.skip(section.size, what);
    await this.#ends.read(section);
  }

  #contradicts(section: SectionInfo, described: DeviceDescription): void {
    if (described.hasEmptyPlaces && section.size > described.size) {
      this.#frame.report(
        QEMU_MIGRATION_RULES.foundByFooter,
        section.offset,
        `the description of '${section.name}' has an array of unknown length`,
      );
      return;
    }
    this.#frame.report(
      QEMU_MIGRATION_RULES.descriptionContradicts,
      section.offset,
      `'${section.name}' has ${section.size} bytes, the description says ${described.size}`,
    );
  }

  #decode(section: SectionInfo, data: Uint8Array, at: number): void {
    const frame = this.#frame;
    const described = this.#described.get(keyOf(section.name, section.instance));
    if (described === undefined) {
      frame.report(
        QEMU_MIGRATION_RULES.foundByFooter,
        section.offset,
        `'${section.name}' is not in the description`,
      );
      return;
    }
    if (described.size !== data.length) return;
    if (described.tellsVersion && described.version !== section.version)
      frame.report(
        QEMU_MIGRATION_RULES.descriptionContradicts,
        section.offset,
        `'${section.name}' has version ${section.version}, the description says ${described.version}`,
      );
    try {
      this.devices.push(decodeDevice(data, described));
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      frame.report(
        QEMU_MIGRATION_RULES.descriptionContradicts,
        at + error.offset,
        `'${section.name}': ${error.message}`,
      );
    }
  }

  /** What follows the stream's end mark: the description, or nothing. */
  async readDescription(): Promise<void> {
    const frame = this.#frame;
    const { reader } = frame;
    const at = frame.position;
    const ready = reader.need(DESCRIPTION_HEAD);
    if (ready !== true) await ready;
    const head = reader.peek(DESCRIPTION_HEAD);
    if (head[0] !== SECTION.description) {
      // what was found at the input's end describes something else
      this.#description = undefined;
      frame.report(QEMU_MIGRATION_RULES.noDescription, at, "the stream has no description of its devices");
      return;
    }
    if (head.length < DESCRIPTION_HEAD) frame.truncated("the description", DESCRIPTION_HEAD - head.length);
    const length = viewOf(head).getUint32(1);
    reader.take(DESCRIPTION_HEAD);
    if (this.#description?.offset === frame.position) {
      await frame.skip(length, "the description");
      return;
    }
    if (length > LARGEST_DESCRIPTION)
      frame.fatal(QEMU_MIGRATION_RULES.descriptionLength, at, `a description of ${length} bytes`);
    const whole = reader.need(length);
    if (whole !== true && !(await whole))
      frame.fatal(
        QEMU_MIGRATION_RULES.descriptionLength,
        at,
        `the description lacks ${length - reader.available} of its ${length} bytes`,
      );
    const { position } = frame;
    this.#describe(reader.take(length).slice(), position);
  }

  /** Without a description: decodes what has one form everywhere. */
  decodeKnown(): void {
    for (const { section, data } of this.#undecoded.splice(0)) {
      const known = knownLayout(section, data);
      if (known !== undefined) this.devices.push(decodeDevice(data, known));
    }
  }

  /** Decodes sections that were met before the description, and compares it with all there were. */
  reconcile(sections: readonly SectionInfo[], ramPageSize: number | undefined): void {
    const frame = this.#frame;
    const description = this.#description;
    if (description === undefined) return;
    for (const { section, data, record } of this.#undecoded.splice(0)) {
      frame.record = record;
      const described = this.#described.get(keyOf(section.name, section.instance));
      if (described !== undefined && described.size !== data.length) this.#contradicts(section, described);
      this.#decode(section, data, section.offset);
    }
    frame.record = undefined;
    if (description.pageSize !== undefined && (ramPageSize ?? description.pageSize) !== description.pageSize)
      frame.report(
        QEMU_MIGRATION_RULES.descriptionContradicts,
        description.offset,
        `page size ${description.pageSize}, but memory has pages of ${ramPageSize}`,
      );
    const have = new Set(sections.map(({ name, instance }) => keyOf(name, instance)));
    for (const device of description.devices)
      if (!have.has(keyOf(device.section, device.instance)))
        frame.report(
          QEMU_MIGRATION_RULES.descriptionContradicts,
          description.offset,
          `it describes '${device.section}' ${device.instance}, which the stream doesn't have`,
        );
  }
}
