import { readU64, viewOf } from "../../binary/layout.js";
import { type CodecName, loadDecompressor, type PageDecompressor } from "../../io/codecs/codec.js";
import { type ByteSource, type MaybePromise, readFully } from "../../io/byte-source.js";
import { isZero, wordsOf } from "../../io/zeros.js";
import { AbsentError, FormatError } from "../../findings/errors.js";
import { COMPRESSION_FLAGS, pageDescriptor } from "./layout.js";
import type { KdumpFile } from "./read.js";
import { KDUMP_RULES } from "./rules.js";

/** Descriptors kept at hand: neighbours are usually asked for together. */
const WINDOW = 512;
const SIZE = pageDescriptor.size;
const SIZE_AT = pageDescriptor.offsetOf("size");
const FLAGS_AT = pageDescriptor.offsetOf("flags");

const CODEC_OF = new Map<number, CodecName>(
  Object.entries(COMPRESSION_FLAGS).map(([name, flag]) => [flag, name as CodecName]),
);

/** The codec of a descriptor's flags; undefined: as it is, or unknown. */
export const codecOf = (flags: number): CodecName | undefined => CODEC_OF.get(flags);

/** What is wrong with a descriptor; undefined: nothing. */
export type DescriptorFault = "lost" | "size" | "compression" | undefined;

/** A descriptor, decoded in place: one object serves all. */
export interface Descriptor {
  offset: number;
  size: number;
  flags: number;
}

/** Whether a descriptor can be one at all, wherever the file ends. */
export function isPossible(file: KdumpFile, { offset, size, flags }: Descriptor): boolean {
  if (offset < file.descriptorOffset + SIZE || offset > Number.MAX_SAFE_INTEGER - size) return false;
  if (flags === 0) return size === file.blockSize;
  return CODEC_OF.has(flags) && size > 0 && size <= file.blockSize;
}

/** The descriptors and page contents of one kdump file (or split part). */
export class KdumpPages {
  readonly file: KdumpFile;
  /** Descriptors of the whole dump before this file's first. */
  readonly firstToken: number;
  readonly #decompressors = new Map<number, PageDecompressor>();
  #view = viewOf(new Uint8Array(WINDOW * SIZE));
  /** The window before, to be filled next; taken away while a read into it is under way. */
  #spare: Uint8Array | undefined;
  readonly #found: Descriptor = { offset: 0, size: 0, flags: 0 };
  #start = -1;
  #packed = new Uint8Array(0);
  /** Offset of the page as it is that was noted last; of the first that came twice in a row. */
  #stored = -1;
  #repeated = -1;
  /** Offset of a page of zeros that many pages share; -1: none. */
  #zeros = -1;

  constructor(file: KdumpFile, firstToken: number) {
    this.file = file;
    this.firstToken = firstToken;
  }

  get #source(): ByteSource {
    return this.file.source;
  }

  /** Loads the decompressors of these flags, so that reading needs no promise. */
  async load(flags: Iterable<number>): Promise<void> {
    for (const flag of flags) {
      const name = CODEC_OF.get(flag);
      if (name !== undefined) this.#decompressors.set(flag, await loadDecompressor(name));
    }
  }

  /** Notes a good descriptor: writers have all pages of zeros share one, which `findShared` looks for. */
  note({ offset, flags }: Descriptor): void {
    if (flags !== 0 || this.#repeated >= 0) return;
    if (offset === this.#stored) this.#repeated = offset;
    this.#stored = offset;
  }

  /** Looks whether the page that many descriptors share is zeros. */
  async findShared(): Promise<void> {
    if (this.#repeated < 0) return;
    const page = new Uint8Array(this.file.blockSize);
    const read = await readFully(this.#source, this.#repeated, page);
    if (read === page.length && isZero(page, wordsOf(page))) this.#zeros = this.#repeated;
  }

  /** Whether a descriptor is of a page that shares the page of zeros. */
  isShared({ offset, flags }: Descriptor): boolean {
    return flags === 0 && offset === this.#zeros;
  }

  /** Token of the first descriptor that the file ends before. */
  get endToken(): number {
    const room = this.#source.size - this.file.descriptorOffset;
    return this.firstToken + Math.max(0, Math.floor(room / SIZE));
  }

  /** The descriptor of a token; it holds until the next call. All zeros where the file ends before it. */
  descriptor(token: number): MaybePromise<Descriptor> {
    const index = token - this.firstToken;
    if (this.#start >= 0 && index >= this.#start && index < this.#start + WINDOW)
      return this.#decode(index - this.#start);
    const start = index - (index % WINDOW);
    const offset = this.file.descriptorOffset + start * SIZE;
    const bytes = this.#spare ?? new Uint8Array(WINDOW * SIZE);
    this.#spare = undefined;
    const room = Math.max(0, Math.min(bytes.length, this.#source.size - offset));
    const finish = (n: number): Descriptor => {
      // beyond the end of the file there are none: they count as lost
      bytes.fill(0, n - (n % SIZE));
      this.#spare = new Uint8Array(this.#view.buffer);
      this.#view = viewOf(bytes);
      this.#start = start;
      return this.#decode(index - start);
    };
    const read = room === 0 ? 0 : this.#source.read(offset, bytes.subarray(0, room));
    return read instanceof Promise ? read.then((n) => ({ ...finish(n) })) : finish(read);
  }

  #decode(at: number): Descriptor {
    const little = this.file.form.order === "little";
    const found = this.#found;
    // an offset beyond 2^53 is beyond the file as well
    const high = this.#view.getUint32(at * SIZE + (little ? 4 : 0), little);
    found.offset = high >= 0x20_0000 ? Number.MAX_SAFE_INTEGER : readU64(this.#view, at * SIZE, little);
    found.size = this.#view.getUint32(at * SIZE + SIZE_AT, little);
    found.flags = this.#view.getUint32(at * SIZE + FLAGS_AT, little);
    return found;
  }

  /** Whether a descriptor can be true. */
  fault({ offset, size, flags }: Descriptor): DescriptorFault {
    if (offset === 0 && size === 0) return "lost";
    if (flags === 0 ? size !== this.file.blockSize : size === 0 || size > this.file.blockSize) return "size";
    if (flags !== 0 && !CODEC_OF.has(flags)) return "compression";
    return this.file.has(offset, size) ? undefined : "lost";
  }

  /** Fills `into` (one block) with the contents of a token's page. @throws FormatError `kdump/page/damaged` */
  read(token: number, into: Uint8Array): MaybePromise<void> {
    const found = this.descriptor(token);
    return found instanceof Promise ? found.then((d) => this.readAt(d, into)) : this.readAt(found, into);
  }

  /** Fills `into` (one block) with the contents that a descriptor leads to. @throws FormatError `kdump/page/damaged` */
  readAt({ offset, size, flags }: Descriptor, into: Uint8Array): MaybePromise<void> {
    if (size > this.file.blockSize || !this.file.has(offset, size)) throw this.#lost(offset);
    if (flags === 0) {
      if (offset === this.#zeros) {
        into.fill(0);
        return undefined;
      }
      const check = (n: number): void => {
        if (n < into.length) throw this.#lost(offset);
      };
      const read = this.#source.read(offset, into);
      return read instanceof Promise ? read.then(check) : check(read);
    }
    const decompress = this.#decompressors.get(flags);
    if (decompress === undefined)
      return this.load([flags]).then(() => this.#unpackFrom(offset, size, flags, into));
    return this.#unpackFrom(offset, size, flags, into);
  }

  #lost(offset: number): AbsentError {
    return new AbsentError(KDUMP_RULES.lost, "the page's contents are not in the file", {
      source: this.file.name,
      offset,
    });
  }

  #unpackFrom(offset: number, size: number, flags: number, into: Uint8Array): MaybePromise<void> {
    if (this.#packed.length < size) this.#packed = new Uint8Array(this.file.blockSize);
    const packed = this.#packed.subarray(0, size);
    const unpack = (bytes: Uint8Array): void => {
      const decompress = this.#decompressors.get(flags);
      const place = { source: this.file.name, offset };
      if (decompress === undefined)
        throw new FormatError(
          KDUMP_RULES.descriptor,
          `compression 0x${flags.toString(16)} is unknown`,
          place,
        );
      try {
        into.set(decompress(bytes, this.file.blockSize));
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        throw new FormatError(KDUMP_RULES.page, error.message, place);
      }
    };
    const read = this.#source.read(offset, packed);
    if (!(read instanceof Promise)) return unpack(packed);
    // another read may come meanwhile: it gets a buffer of its own
    this.#packed = new Uint8Array(0);
    return read.then(() => unpack(packed));
  }
}
