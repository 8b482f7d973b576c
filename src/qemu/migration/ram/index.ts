import type { AbsentReason } from "../../../guest/absent.js";
import { viewOf } from "../../../binary/layout.js";
import type { MemoryRange } from "../../../guest/memory.js";
import { PageMap } from "../../../guest/page-map.js";
import type { ByteSource, MaybePromise } from "../../../io/byte-source.js";
import type { PageDecompressor } from "../../../io/codecs/codec.js";
import { AbsentError, FormatError, TruncatedError } from "../../../findings/errors.js";
import type { Spool } from "../../../io/spool.js";
import { ReadAhead } from "./read-ahead.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";
import { applyDelta, checkDelta } from "./xbzrle.js";

/** Differences kept in the index (18 bytes each) before all pages that have some are settled into the spool. */
const MOST_DELTAS = 2 << 20;

/** Kinds of encoded pages: the low two bits of a token; the rest counts within the kind. */
const ENCODED = { zlib: 0, delta: 1, fill: 2, spooled: 3 } as const;

/** What a difference applies to, in one number: 4 × offset or token, and which of them. */
const BASE = { plain: 0, zero: 1, token: 2 } as const;

const tokenOf = (kind: number, index: number): number => index * 4 + kind;

/** Growing arrays of fixed-size entries. */
class DeltaLog {
  before = new Float64Array(1024);
  offset = new Float64Array(1024);
  length = new Uint16Array(1024);
  count = 0;

  add(before: number, offset: number, length: number): number {
    if (this.count === this.before.length) {
      this.before = grown(this.before, new Float64Array(this.count * 2));
      this.offset = grown(this.offset, new Float64Array(this.count * 2));
      this.length = grown(this.length, new Uint16Array(this.count * 2));
    }
    this.before[this.count] = before;
    this.offset[this.count] = offset;
    this.length[this.count] = length;
    this.count += 1;
    return this.count - 1;
  }
}

function grown<T extends Float64Array | Uint16Array>(array: T, larger: T): T {
  larger.set(array);
  return larger;
}

export interface RamIndexOptions {
  readonly pageSize: number;
  /** Decodes pages of the compress capability; needed before such a page is read. */
  readonly zlib?: PageDecompressor | undefined;
  /** Where pages go whose differences grow too many to index. Without it the index grows with them. */
  readonly spool?: (() => Spool) | undefined;
  /** Keep what reading needs (differences, places of compressed pages); verification doesn't. */
  readonly forReading: boolean;
}

/**
 * Where the last copy of each page of all blocks is. Blocks follow each other in one space of frames;
 * what was never sent exists nowhere in it.
 */
export class RamIndex {
  readonly map: PageMap;
  readonly #source: ByteSource;
  /** For bases and differences, which are in runs. */
  readonly #ahead: ByteSource;
  readonly #options: RamIndexOptions;
  readonly #deltas = new DeltaLog();
  #zlibOffsets = new Float64Array(1024);
  #zlibCount = 0;
  #spool: Spool | undefined;
  #spooled = 0;
  #zeroFirst = 0;
  #zeroCount = 0;

  constructor(source: ByteSource, options: RamIndexOptions) {
    this.#source = source;
    this.#ahead = new ReadAhead(source);
    this.#options = options;
    this.map = new PageMap(source, {
      pageSize: options.pageSize,
      decode: (token, into) => this.#decode(token, into),
    });
  }

  /** Differences indexed now. */
  get deltas(): number {
    return this.#deltas.count;
  }

  plain(frame: number, offset: number): void {
    if (this.#zeroCount > 0) this.flush();
    this.map.set(frame, 1, offset);
  }

  /** Plain pages in a row, their contents `spacing` bytes apart. */
  plainRun(frame: number, count: number, offset: number, spacing: number): void {
    this.flush();
    this.map.setSpaced(frame, count, offset, spacing);
  }

  /** Zero pages in a row are gathered; every other change, and `flush`, puts them down. */
  zero(frame: number, count = 1): void {
    if (frame !== this.#zeroFirst + this.#zeroCount) {
      this.flush();
      this.#zeroFirst = frame;
    }
    this.#zeroCount += count;
  }

  /** To be called before `map` is read. */
  flush(): void {
    if (this.#zeroCount > 0) this.map.zero(this.#zeroFirst, this.#zeroCount);
    this.#zeroCount = 0;
  }

  fill(frame: number, byte: number): void {
    this.flush();
    this.map.decoded(frame, 1, tokenOf(ENCODED.fill, byte));
  }

  lost(frame: number, reason: AbsentReason): void {
    this.flush();
    this.map.absent(frame, 1, reason);
  }

  /** @param offset of the u32 length in front of the compressed data. */
  zlib(frame: number, offset: number): void {
    this.flush();
    if (!this.#options.forReading) {
      this.map.decoded(frame, 1, tokenOf(ENCODED.zlib, 0));
      return;
    }
    const now = this.map.at(frame);
    let index = this.#zlibCount;
    // a page sent again reuses its entry: no difference has come between
    if (now.kind === "decoded" && now.token % 4 === ENCODED.zlib) index = Math.floor(now.token / 4);
    else this.#zlibCount += 1;
    if (index === this.#zlibOffsets.length)
      this.#zlibOffsets = grown(this.#zlibOffsets, new Float64Array(index * 2));
    this.#zlibOffsets[index] = offset;
    this.map.decoded(frame, 1, tokenOf(ENCODED.zlib, index));
  }

  /** A difference at `offset` to what the page is now. False when the page has no content to differ from. */
  delta(frame: number, offset: number, length: number): boolean {
    this.flush();
    const now = this.map.at(frame);
    let before: number;
    if (now.kind === "source") before = now.offset * 4 + BASE.plain;
    else if (now.kind === "zero") before = BASE.zero;
    else if (now.kind === "decoded") before = now.token * 4 + BASE.token;
    else return false;
    const number = this.#options.forReading ? this.#deltas.add(before, offset, length) : 0;
    this.map.decoded(frame, 1, tokenOf(ENCODED.delta, number));
    return true;
  }

  /** Whether anything was sent of a page. */
  has(frame: number): boolean {
    this.flush();
    return this.map.at(frame).kind !== "nowhere";
  }

  /** Whether `settle` should be called before more differences come. */
  get needsSettling(): boolean {
    return this.#deltas.count >= MOST_DELTAS && this.#options.spool !== undefined;
  }

  /** Puts every page that has differences into the spool, whole, and forgets the differences. */
  async settle(): Promise<void> {
    this.#spool ??= this.#options.spool?.();
    const spool = this.#spool;
    if (spool === undefined) return;
    const { pageSize } = this.#options;
    const page = new Uint8Array(pageSize);
    this.flush();
    const ranges: MemoryRange[] = [...this.map.ranges()];
    for (const { start, end, presence } of ranges) {
      if (presence !== "present") continue;
      for (let frame = start / pageSize; frame < end / pageSize; frame += 1) {
        const now = this.map.at(frame);
        if (now.kind !== "decoded" || now.token % 4 !== ENCODED.delta) continue;
        const done = this.#decode(now.token, page);
        if (done instanceof Promise) await done;
        const written = spool.writeAt(this.#spooled * pageSize, page);
        if (written instanceof Promise) await written;
        this.map.decoded(frame, 1, tokenOf(ENCODED.spooled, this.#spooled));
        this.#spooled += 1;
      }
    }
    this.#deltas.count = 0;
  }

  #decode(token: number, into: Uint8Array): MaybePromise<void> {
    const index = Math.floor(token / 4);
    switch (token % 4) {
      case ENCODED.zlib:
        return this.#inflate(this.#zlibOffsets[index] ?? 0, into);
      case ENCODED.fill:
        into.fill(index);
        return undefined;
      case ENCODED.spooled:
        return this.#spool === undefined
          ? undefined
          : this.#exactly(this.#spool, index * this.#options.pageSize, into);
      default:
        return this.#replay(index, into);
    }
  }

  /** Applies a page's differences, oldest first, to their base. */
  #replay(last: number, into: Uint8Array): MaybePromise<void> {
    const chain: number[] = [last];
    let before = this.#deltas.before[last] ?? 0;
    while (before % 4 === BASE.token) {
      const token = Math.floor(before / 4);
      if (token % 4 !== ENCODED.delta) break;
      const number = Math.floor(token / 4);
      chain.push(number);
      before = this.#deltas.before[number] ?? 0;
    }
    const value = Math.floor(before / 4);
    let base: MaybePromise<void>;
    if (before % 4 === BASE.plain) base = this.#exactly(this.#ahead, value, into);
    else if (before % 4 === BASE.token) base = this.#decode(value, into);
    else base = void into.fill(0);
    return base instanceof Promise
      ? base.then(() => this.#applyAll(chain, into))
      : this.#applyAll(chain, into);
  }

  #applyAll(chain: number[], into: Uint8Array): MaybePromise<void> {
    for (let number = chain.pop(); number !== undefined; number = chain.pop()) {
      const length = this.#deltas.length[number] ?? 0;
      const offset = this.#deltas.offset[number] ?? 0;
      const bytes = new Uint8Array(length);
      const read = this.#exactly(this.#ahead, offset, bytes);
      if (read instanceof Promise) {
        return read.then(() => {
          this.#apply(into, bytes, offset);
          return this.#applyAll(chain, into);
        });
      }
      this.#apply(into, bytes, offset);
    }
    return undefined;
  }

  #apply(into: Uint8Array, bytes: Uint8Array, offset: number): void {
    // checked when it was indexed: only a file that changes meanwhile fails here
    const wrong = checkDelta(bytes, 0, bytes.length, into.length);
    if (wrong !== undefined)
      throw new FormatError(QEMU_MIGRATION_RULES.xbzrle, `a page's difference ${wrong}`, {
        source: this.#source.name,
        offset,
      });
    applyDelta(into, bytes, 0, bytes.length);
  }

  async #inflate(offset: number, into: Uint8Array): Promise<void> {
    const head = new Uint8Array(4);
    await this.#exactly(this.#source, offset, head);
    const packed = new Uint8Array(Math.min(viewOf(head).getUint32(0), into.length * 2));
    await this.#exactly(this.#source, offset + 4, packed);
    into.set(this.inflated(packed, offset));
  }

  /** @throws FormatError when the data do not give one page. */
  inflated(packed: Uint8Array, offset: number): Uint8Array {
    const { zlib, pageSize } = this.#options;
    if (zlib === undefined)
      throw new AbsentError(QEMU_MIGRATION_RULES.noCodec, "compressed pages need the zlib codec", {
        source: this.#source.name,
      });
    try {
      return zlib(packed, pageSize);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw new FormatError(
        QEMU_MIGRATION_RULES.compressData,
        `a compressed page is damaged: ${error.message}`,
        {
          source: this.#source.name,
          offset,
        },
      );
    }
  }

  #exactly(source: ByteSource, offset: number, into: Uint8Array): MaybePromise<void> {
    const check = (n: number): void => {
      if (n === into.length) return;
      throw new TruncatedError(
        QEMU_MIGRATION_RULES.truncated,
        "the input ends before a page that it held",
        into.length - n,
        {
          source: source.name,
          offset,
        },
      );
    };
    const read = source.read(offset, into);
    return read instanceof Promise ? read.then(check) : check(read);
  }
}
