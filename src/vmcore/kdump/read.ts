import { trimNuls } from "../../binary/text.js";
import { type ByteOrder, latin1, viewOf } from "../../binary/layout.js";
import { type ElfNote, readNotes } from "../../elf/notes.js";
import type { Rule } from "../../findings/rule.js";
import { formatError } from "../../findings/diagnostics.js";
import { ByteReader } from "../../io/byte-reader.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { FormatError } from "../../findings/errors.js";
import { FlattenedSource, isFlattened } from "./flattened.js";
import {
  DISKDUMP_SIGNATURE,
  type Header,
  headerLayout,
  header64,
  KDUMP_SIGNATURE,
  type KdumpForm,
  readSubHeader,
  STATUS_INCOMPLETE,
  type SubHeader,
  subHeaderSize,
} from "./layout.js";
import { KDUMP_RULES } from "./rules.js";
import { erasedLines, erasedOf } from "../notes.js";

/** Bytes of a block: a power of two up to this. */
const MAX_BLOCK = 1 << 20;
/** Notes are a few KiB a processor. */
const MAX_NOTES = 64 << 20;
const MAX_TEXT = 1 << 20;
const BITMAP_WINDOW = 256 << 10;

/** What the bitmaps say of a run of page frames. */
export type FrameKind = "dumped" | "excluded" | "undeclared";

export interface FrameRun {
  readonly first: number;
  readonly count: number;
  /** dumped: a descriptor follows; excluded: in the guest, not in the dump; undeclared: dumped, though bitmap 1 denies it. */
  readonly kind: FrameKind;
}

/** The headers of one kdump-compressed file, and where its parts lie. */
export class KdumpFile {
  readonly source: ByteSource;
  /** The file itself; another than `source` when that is its flattened form. */
  readonly input: ByteSource;
  /** Set when `source` is a flattened file seen as the plain one. */
  readonly flattened: FlattenedSource | undefined;
  readonly form: KdumpForm;
  readonly header: Header;
  readonly subHeader: SubHeader;
  /** Bytes of a block, which is a page. */
  readonly blockSize: number;
  /** Page frames that the bitmaps cover. */
  readonly frames: number;
  readonly bitmapOffset: number;
  /** Bytes of one bitmap. */
  readonly bitmapSize: number;
  readonly descriptorOffset: number;
  readonly notes: readonly ElfNote[];
  /** VMCOREINFO's text. */
  readonly vmcoreInfo: string | undefined;
  /** What makedumpfile was told to erase, a line each; those bytes are no longer the guest's. */
  readonly erased: readonly string[];

  private constructor(
    parts: Omit<
      KdumpFile,
      "name" | "isSplit" | "isIncomplete" | "firstFrame" | "endFrame" | "runs" | "has" | "vmcorePhysBase"
    >,
  ) {
    this.source = parts.source;
    this.input = parts.input;
    this.flattened = parts.flattened;
    this.form = parts.form;
    this.header = parts.header;
    this.subHeader = parts.subHeader;
    this.blockSize = parts.blockSize;
    this.frames = parts.frames;
    this.bitmapOffset = parts.bitmapOffset;
    this.bitmapSize = parts.bitmapSize;
    this.descriptorOffset = parts.descriptorOffset;
    this.notes = parts.notes;
    this.vmcoreInfo = parts.vmcoreInfo;
    this.erased = parts.erased;
  }

  get name(): string {
    return this.source.name;
  }

  get isSplit(): boolean {
    return this.subHeader.split === 1;
  }

  /** Whether the writer says that it could not finish. */
  get isIncomplete(): boolean {
    return (this.header.status & STATUS_INCOMPLETE) !== 0;
  }

  /** First frame whose descriptor can be in this file. */
  get firstFrame(): number {
    if (!this.isSplit) return 0;
    return this.header.header_version >= 6 ? this.subHeader.start_pfn_64 : Number(this.subHeader.start_pfn);
  }

  /** After the last frame whose descriptor can be in this file. */
  get endFrame(): number {
    if (!this.isSplit) return this.frames;
    const end = this.header.header_version >= 6 ? this.subHeader.end_pfn_64 : Number(this.subHeader.end_pfn);
    return Math.min(end, this.frames);
  }

  /** phys_base as VMCOREINFO's text has it. */
  get vmcorePhysBase(): bigint | undefined {
    const [, digits] = /^NUMBER\(phys_base\)=(-?\d+)$/m.exec(this.vmcoreInfo ?? "") ?? [];
    return digits === undefined ? undefined : BigInt(digits);
  }

  /** Whether the file really has these bytes. */
  has(offset: number, size: number): boolean {
    if (this.flattened !== undefined) return this.flattened.covers(offset, size);
    return offset + size <= this.source.size;
  }

  /**
   * Reads headers and notes of a plain or flattened file.
   * @param onProblem receives damage that leaves the pages readable (notes); without it that is thrown.
   * @throws FormatError `kdump/header/…`, TruncatedError `kdump/truncated`
   */
  static async open(input: ByteSource, onProblem?: (error: FormatError) => void): Promise<KdumpFile> {
    const start = new Uint8Array(16);
    const got = await readFully(input, 0, start);
    const flattened = isFlattened(start.subarray(0, got)) ? await FlattenedSource.open(input) : undefined;
    return KdumpFile.read({ input, flattened, source: flattened ?? input }, onProblem);
  }

  /**
   * Reads headers and notes of the plain file that `source` is; what of it a salvage made is believed as well.
   * @throws FormatError, see open()
   */
  static async read(
    { input, flattened, source }: Pick<KdumpFile, "input" | "flattened" | "source">,
    onProblem?: (error: FormatError) => void,
  ): Promise<KdumpFile> {
    const head = new Uint8Array(header64.size);
    const size = await readFully(source, 0, head);
    const signature = latin1(head.subarray(0, 8));
    if (signature !== KDUMP_SIGNATURE && signature !== DISKDUMP_SIGNATURE)
      throw formatError(KDUMP_RULES.signature, source.name, { offset: 0 }, "not a kdump-compressed dump");
    if (size < header64.size) throw truncated(source, header64.size, "main header");
    const form = detectForm(head, source);
    const layoutOfHeader = headerLayout(form.bits);
    const header = layoutOfHeader.decode(head, form.order);
    const blockSize = header.block_size;
    const subBytes = await readAt(source, blockSize, subHeaderSize(form.bits), "sub-header");
    const subHeader = placed(source, blockSize, "sub-header", () => readSubHeader(subBytes, form, header));
    const bitmapOffset = (1 + header.sub_hdr_size) * blockSize;
    const bitmapSize = Math.floor(header.bitmap_blocks / 2) * blockSize;
    const frames = framesOf(header, subHeader, bitmapSize);
    const geometry = (message: string): FormatError =>
      formatError(
        KDUMP_RULES.header,
        source.name,
        { offset: layoutOfHeader.offsetOf("block_size") },
        message,
      );
    const { split, start_pfn_64, end_pfn_64 } = subHeader;
    if (split !== 1 && start_pfn_64 < end_pfn_64)
      throw geometry(
        `frames ${start_pfn_64} to ${end_pfn_64} are a part's, and the dump is said to be whole`,
      );
    // both pairs hold the same numbers, one of them cut to a word
    const word = (frame: number): bigint => BigInt.asUintN(form.bits, BigInt(frame));
    const isAlike = word(start_pfn_64) === subHeader.start_pfn && word(end_pfn_64) === subHeader.end_pfn;
    if (split === 1 && header.header_version >= 6 && !isAlike)
      throw geometry("the first and last frame of the part are given twice, and differ");
    if (frames > bitmapSize * 8)
      throw geometry(`${frames} page frames don't fit bitmaps of ${bitmapSize} bytes`);
    if (frames * blockSize >= 2 ** 53) throw geometry(`${frames} page frames are beyond any address`);
    const descriptorOffset = bitmapOffset + header.bitmap_blocks * blockSize;
    if (descriptorOffset > source.size) throw truncated(source, descriptorOffset, "bitmaps");
    // what no record of a flattened dump covers reads as zeros, terabytes of them
    if (flattened?.isSalvaged === false && !flattened.covers(bitmapOffset, 2 * bitmapSize))
      throw truncated(source, descriptorOffset, "bitmaps");

    const tolerate = async <T>(what: () => Promise<T>, otherwise: T): Promise<T> => {
      try {
        return await what();
      } catch (error) {
        if (!(error instanceof FormatError) || onProblem === undefined) throw error;
        onProblem(error);
        return otherwise;
      }
    };
    const notes = await tolerate(() => readKdumpNotes(source, subHeader, form.order), []);
    const vmcoreInfo = await tolerate(() => readVmcoreInfo(source, subHeader, notes), undefined);
    const erased = await tolerate(() => readErased(source, subHeader, notes), []);
    return new KdumpFile({
      source,
      input,
      flattened,
      form,
      header,
      subHeader,
      blockSize,
      frames,
      bitmapOffset,
      bitmapSize,
      descriptorOffset,
      notes,
      vmcoreInfo,
      erased,
    });
  }

  /** What the bitmaps say, ascending; frames of neither bitmap are passed over. Reads both as it goes. */
  async *runs(): AsyncIterable<FrameRun> {
    const exists = new ByteReader(this.source, { start: this.bitmapOffset, window: BITMAP_WINDOW });
    const dumped = new ByteReader(this.source, {
      start: this.bitmapOffset + this.bitmapSize,
      window: BITMAP_WINDOW,
    });
    let kind = 0;
    let first = 0;
    const size = Math.ceil(this.frames / 8);
    for (let at = 0; at < size; ) {
      const step = Math.min(BITMAP_WINDOW, size - at);
      if (!(await exists.need(step)) || !(await dumped.need(step)))
        throw truncated(this.source, this.descriptorOffset, "bitmaps");
      const [one, two] = [exists.take(step), dumped.take(step)];
      for (let i = 0; i < step; i += 1) {
        const [a, b] = [one[i] ?? 0, two[i] ?? 0];
        if (kind === 0 && a === 0 && b === 0) continue;
        if (kind === 3 && a === 0xff && b === 0xff) continue;
        for (let bit = 0; bit < 8; bit += 1) {
          const frame = (at + i) * 8 + bit;
          const now = frame < this.frames ? ((a >> bit) & 1) | (((b >> bit) & 1) << 1) : 0;
          if (now === kind) continue;
          if (kind !== 0) yield { first, count: frame - first, kind: KINDS[kind] ?? "dumped" };
          kind = now;
          first = frame;
        }
      }
      at += step;
    }
    if (kind !== 0) yield { first, count: this.frames - first, kind: KINDS[kind] ?? "dumped" };
  }
}

/** Page frames: of the two numbers that say it the larger one that bitmaps have room for; beyond the last no bit is set. */
function framesOf({ max_mapnr }: Header, { max_mapnr_64 }: SubHeader, bitmapSize: number): number {
  const stated = max_mapnr_64 > 0 ? max_mapnr_64 : max_mapnr;
  return max_mapnr > stated && max_mapnr <= bitmapSize * 8 ? max_mapnr : stated;
}

/** By bit 0: in bitmap 1, bit 1: in bitmap 2. */
const KINDS: readonly (FrameKind | undefined)[] = [undefined, "excluded", "undeclared", "dumped"];

function truncated(source: ByteSource, needed: number, what: string): FormatError {
  return formatError(
    KDUMP_RULES.truncated,
    source.name,
    { offset: source.size },
    `the file of ${source.size} bytes ends before its ${what} do, at ${needed}`,
  );
}

async function readAt(source: ByteSource, offset: number, size: number, what: string): Promise<Uint8Array> {
  if (offset + size > source.size) throw truncated(source, offset + size, what);
  const bytes = new Uint8Array(size);
  if ((await readFully(source, offset, bytes)) < size) throw truncated(source, offset + size, what);
  return bytes;
}

/** Gives an error of decoding fixed members its place. */
function placed<T>(source: ByteSource, offset: number, record: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(error.rule, error.message, { source: source.name, offset, record });
  }
}

/** Whether a block can have so many bytes. */
export const isBlockSize = (size: number): boolean =>
  size >= 512 && size <= MAX_BLOCK && (size & (size - 1)) === 0;

/** Byte order by where the version is small, width by where the numbers after it make sense. */
function detectForm(head: Uint8Array, source: ByteSource): KdumpForm {
  const view = viewOf(head);
  const versionAt = header64.offsetOf("header_version");
  const small = (little: boolean): boolean => {
    const version = view.getInt32(versionAt, little);
    return version >= 0 && version < 0x100;
  };
  const refuse = (rule: Rule, offset: number, message: string): FormatError =>
    formatError(rule, source.name, { offset }, message);
  if (!small(true) && !small(false))
    throw refuse(KDUMP_RULES.header, versionAt, "the header's version is small in neither byte order");
  const order: ByteOrder = small(true) ? "little" : "big";
  for (const bits of [64, 32] as const) {
    const { block_size, sub_hdr_size, bitmap_blocks } = headerLayout(bits).decode(head, order);
    const isPower = isBlockSize(block_size);
    const fits = (1 + sub_hdr_size + bitmap_blocks) * block_size < 2 ** 53;
    if (isPower && sub_hdr_size >= 1 && bitmap_blocks >= 2 && fits) return { bits, order };
  }
  const at = header64.offsetOf("block_size");
  throw refuse(KDUMP_RULES.header, at, "block size, sub-header and bitmap sizes make no sense");
}

async function readKdumpNotes(
  source: ByteSource,
  { offset_note: offset, size_note: size }: SubHeader,
  order: ByteOrder,
): Promise<readonly ElfNote[]> {
  if (size === 0) return [];
  if (size > MAX_NOTES || offset + size > source.size)
    throw formatError(
      KDUMP_RULES.notes,
      source.name,
      { offset },
      `notes of ${size} bytes at ${offset} are outside the file`,
    );
  const bytes = await readAt(source, offset, size, "notes");
  return Array.from(readNotes(bytes, order, { source: source.name, offset }));
}

async function readVmcoreInfo(
  source: ByteSource,
  { offset_vmcoreinfo: offset, size_vmcoreinfo: size }: SubHeader,
  notes: readonly ElfNote[],
): Promise<string | undefined> {
  const note = notes.find((n) => n.name === "VMCOREINFO");
  if (size === 0) return note === undefined ? undefined : trimNuls(latin1(note.descriptor));
  return readText(source, offset, size, "VMCOREINFO");
}

async function readErased(
  source: ByteSource,
  { offset_eraseinfo: offset, size_eraseinfo: size }: SubHeader,
  notes: readonly ElfNote[],
): Promise<readonly string[]> {
  if (size === 0) return erasedOf(notes);
  return erasedLines(await readText(source, offset, size, "the list of what was erased"));
}

async function readText(source: ByteSource, offset: number, size: number, what: string): Promise<string> {
  if (size > MAX_TEXT || offset + size > source.size)
    throw formatError(
      KDUMP_RULES.notes,
      source.name,
      { offset },
      `${what}, ${size} bytes at ${offset}, is outside the file`,
    );
  return trimNuls(latin1(await readAt(source, offset, size, what)));
}
