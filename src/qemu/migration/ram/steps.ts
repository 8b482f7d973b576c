import { latin1, viewOf } from "../../../binary/layout.js";
import type { ByteSource } from "../../../io/byte-source.js";
import { readBefore } from "../../../io/lost-bytes.js";
import { compressedLimit, FLAG, SECTION } from "../layout.js";

const TWO_32 = 0x1_0000_0000;
/** The longest head of a record or section: address, length of the name, name; section's numbers. */
const HEAD = 8 + 1 + 255 + 16;
/** Sections have small numbers, their versions too. */
export const MOST_SECTIONS: number = 1 << 16;
const MOST_VERSION = 1 << 12;

/** A record of RAM, or what is between two parts of it. */
export interface Step<Block> {
  readonly kind: "page" | "end" | "section" | "eof";
  /** Of pages: offset in the block. */
  readonly address: number;
  /** Block that it names. */
  readonly block: Block | undefined;
  readonly continues: boolean;
  /** Of a section: another part of RAM. */
  readonly ofRam?: boolean;
  /** Where the next one begins. */
  readonly next: number;
}

/** What is known of a stream's RAM when its records are looked at. */
export interface StepOptions<Block> {
  readonly pageSize: number;
  /** Bytes of the longest block. */
  readonly longest: number;
  /** The block of a name; undefined: there is none. */
  blockOf(name: string): Block | undefined;
  /** Whether a section's number may be that of `ram`. */
  isRam(id: number): boolean;
}

/** Looks at records of RAM, and what is between its parts, at any offset. */
export class RamSteps<Block extends { readonly length: number }> {
  readonly #input: ByteSource;
  readonly #options: StepOptions<Block>;
  readonly #bytes = new Uint8Array(HEAD);
  readonly #view = viewOf(this.#bytes);

  constructor(input: ByteSource, options: StepOptions<Block>) {
    this.#input = input;
    this.#options = options;
  }

  /** What begins at an offset; undefined when that is nothing of a stream. */
  async at(at: number): Promise<Step<Block> | undefined> {
    const n = await readBefore(this.#input, at, this.#bytes);
    if (n < 5) return undefined;
    const view = this.#view;
    if (view.getUint8(0) === SECTION.footer && view.getUint32(1) < MOST_SECTIONS) return this.#section(at, n);
    if (n < 9) return undefined;
    const low = view.getUint32(4);
    const { longest, pageSize } = this.#options;
    // old ARM boards have pages of 1 KiB, and no more flags than fit below
    const flags = low & (Math.min(pageSize, 0x1000) - 1);
    const address = view.getUint32(0) * TWO_32 + (low - flags);
    const kind = flags & ~FLAG.continue;
    const continues = kind !== flags;
    if (kind === FLAG.eos && !continues && address === 0)
      return { kind: "end", address, block: undefined, continues: false, next: at + 8 };
    if (kind === FLAG.multifdFlush && !continues && address === 0)
      return { kind: "page", address, block: undefined, continues: true, next: at + 8 };
    if (address >= longest || address % pageSize !== 0) return undefined;
    let body = 8;
    let block: Block | undefined;
    if (!continues) {
      const length = view.getUint8(8);
      if (9 + length >= n) return undefined;
      block = this.#options.blockOf(latin1(this.#bytes.subarray(9, 9 + length)));
      if (block === undefined || address >= block.length) return undefined;
      body += 1 + length;
    }
    if (n < body + 5) return undefined;
    let size: number;
    if (kind === FLAG.page) size = pageSize;
    else if (kind === FLAG.zero) size = 1;
    else if (kind === FLAG.compress) {
      size = 4 + view.getUint32(body);
      if (size === 4 || size - 4 > compressedLimit(pageSize)) return undefined;
    } else if (kind === FLAG.xbzrle) {
      size = 3 + view.getUint16(body + 1);
      if (view.getUint8(body) !== 1 || size - 3 > pageSize) return undefined;
    } else return undefined;
    return { kind: "page", address, block, continues, next: at + body + size };
  }

  /** A footer and the section that follows it. */
  #section(at: number, n: number): Step<Block> | undefined {
    const view = this.#view;
    const step = (kind: Step<Block>["kind"], next: number): Step<Block> => ({
      kind,
      address: 0,
      block: undefined,
      continues: true,
      next: at + next,
    });
    if (n === 5) return step("eof", 5);
    const type = view.getUint8(5);
    if (type === SECTION.eof)
      return n === 6 || view.getUint8(6) === SECTION.description ? step("section", 6) : undefined;
    if (n < 11) return undefined;
    const id = view.getUint32(6);
    if (type === SECTION.part || type === SECTION.end)
      return this.#options.isRam(id) ? { ...step("section", 10), ofRam: true } : undefined;
    if ((type !== SECTION.start && type !== SECTION.full) || id >= MOST_SECTIONS) return undefined;
    const length = view.getUint8(10);
    if (length === 0 || n < 11 + length + 8) return undefined;
    for (let i = 0; i < length; i += 1) {
      const letter = view.getUint8(11 + i);
      if (letter <= 0x20 || letter >= 0x7f) return undefined;
    }
    return view.getUint32(11 + length + 4) < MOST_VERSION ? step("section", 11 + length + 8) : undefined;
  }
}
