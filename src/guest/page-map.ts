import type { AbsentReason } from "./absent.js";
import { GUEST_RULES } from "./rules.js";
import type { ByteSource, MaybePromise } from "../io/byte-source.js";
import { FormatError } from "../findings/errors.js";
import { Announced } from "./announced.js";
import { findSegment, joinAlike } from "./segmented.js";
import {
  type MemoryPiece,
  type MemoryRange,
  PAGE_SIZE,
  type PhysicalMemory,
  type Presence,
  type SourcePiece,
} from "./memory.js";
import { isReason, isToken, NOWHERE, reasonCode, reasonOf, tokenCode, tokenOf } from "./page-codes.js";
import type { SpillOptions } from "./page-groups.js";
import { checkFrames, FRAME_LIMIT, PageIndex, type RunWalk } from "./page-index.js";
import { readPieces } from "./pieces.js";

/** Fills `into` (one page) with the contents that `token` stands for: compressed pages, chains of differences. */
export type PageDecoder = (token: number, into: Uint8Array) => MaybePromise<void>;

/** Where one page is. */
export type PagePlace =
  | { readonly kind: "source"; readonly offset: number }
  | { readonly kind: "decoded"; readonly token: number }
  | { readonly kind: "zero" | "absent"; readonly reason: AbsentReason | undefined }
  | { readonly kind: "nowhere" };

/** How pages of a map are read. */
export interface PageMapOptions {
  /** Bytes of a page; default 4096. */
  readonly pageSize?: number;
  /** Needed once `decoded` is used. */
  readonly decode?: PageDecoder;
  /** Where what takes too much memory goes; default: what the platform installed (`installNodeSpill`). */
  readonly spill?: SpillOptions;
}

/** What a code of the index stands for. */
interface Reason {
  readonly presence: Presence;
  readonly reason: AbsentReason | undefined;
}

const MOST_REASONS = 2 ** 16;
/**
 * Physical memory as an index of pages: frame → offset in a source, zeros, absent for a reason, or a token
 * of a decoder. Whatever was said last of a page holds. What nothing was said of does not exist.
 *
 * The index takes a few bytes per run of pages, at worst five per page; above some 30 MiB it spills to a file where the
 * platform has one. Fill it first, then read: a walk
 * (`ranges`, `pieces`) does not see pages added while it is under way.
 */
export class PageMap implements PhysicalMemory {
  readonly pageSize: number;
  readonly #source: ByteSource;
  readonly #decode: PageDecoder | undefined;
  readonly #index: PageIndex;
  readonly #reasons: Reason[] = [];
  readonly #reasonCodes = new Map<string, number>();
  #lastReason: Reason | undefined;
  #lastCode = NOWHERE;
  readonly #announced = new Announced();
  #decoded: { token: number; page: Uint8Array } | undefined;

  constructor(source: ByteSource, options: PageMapOptions = {}) {
    this.pageSize = options.pageSize ?? PAGE_SIZE;
    this.#source = source;
    this.#decode = options.decode;
    this.#index = new PageIndex(this.pageSize, options.spill);
  }

  /** `count` pages from frame `first` on have their contents one after another at `offset`. */
  set(first: number, count: number, offset: number): void {
    this.#index.set(first, count, offset);
  }

  /** As `set`, with contents `spacing` bytes apart, as in a file that puts a header before each page. */
  setSpaced(first: number, count: number, offset: number, spacing: number): void {
    this.#index.setSpaced(first, count, offset, spacing);
  }

  /** Known to be zeros. */
  zero(first: number, count: number, reason?: AbsentReason): void {
    this.#index.set(first, count, this.#reason("zero", reason));
  }

  /** Its contents are not in the source, for one of a few reasons. */
  absent(first: number, count: number, reason: AbsentReason): void {
    this.#index.set(first, count, this.#reason("absent", reason));
  }

  /**
   * Absent wherever nothing else is said of them, at any time: takes no memory a page. For what a few bytes of a source
   * announce.
   */
  announce(first: number, count: number, reason: AbsentReason): void {
    checkFrames(first, count);
    this.#announced.add(first, first + count, reason);
  }

  /** The decoder makes their contents, of tokens `token`, `token + 1` … (below 2^32). */
  decoded(first: number, count: number, token: number): void {
    this.#index.set(first, count, tokenCode(token));
  }

  /** Does not exist (any more). */
  remove(first: number, count: number): void {
    this.#index.set(first, count, NOWHERE);
  }

  /** A walk over the runs of frames [start, end) with their codes, as `page-index` has them. */
  runs(start: number, end: number): RunWalk {
    return this.#index.runs(start, end);
  }

  /** Where a page is now. */
  at(frame: number): PagePlace {
    const code = this.#index.get(frame);
    if (code >= 0) return { kind: "source", offset: code };
    if (isToken(code)) return { kind: "decoded", token: tokenOf(code) };
    const reason = this.#reasonOf(code);
    if (reason === undefined || reason.presence === "present") {
      const span = findSegment(this.#announced.spans, frame);
      return span === undefined ? { kind: "nowhere" } : { kind: "absent", reason: span.reason };
    }
    return { kind: reason.presence, reason: reason.reason };
  }

  #reason(presence: Presence, reason: AbsentReason | undefined): number {
    // pages come one by one, with the same reason object
    const last = this.#lastReason;
    if (last !== undefined && last.presence === presence && last.reason === reason) return this.#lastCode;
    this.#lastCode = this.#codeOf(presence, reason);
    this.#lastReason = { presence, reason };
    return this.#lastCode;
  }

  #codeOf(presence: Presence, reason: AbsentReason | undefined): number {
    const key = `${presence} ${reason?.kind ?? ""} ${reason?.text ?? ""}`;
    const known = this.#reasonCodes.get(key);
    if (known !== undefined) return known;
    if (this.#reasons.length >= MOST_REASONS)
      throw new FormatError(GUEST_RULES.tooManyReasons, "more kinds of absent memory than can be kept apart");
    const code = reasonCode(this.#reasons.length);
    this.#reasons.push({ presence, reason });
    this.#reasonCodes.set(key, code);
    return code;
  }

  #reasonOf(code: number): Reason | undefined {
    return isReason(code) ? this.#reasons[reasonOf(code)] : undefined;
  }

  ranges(): Iterable<MemoryRange> {
    return this.#announced.isEmpty ? this.#indexed() : joinAlike(this.#withAnnounced());
  }

  /** Ranges of the index, with announced ones where it has none. */
  *#withAnnounced(): Iterable<MemoryRange> {
    const { spans } = this.#announced;
    const { pageSize } = this;
    let next = 0;
    let at = 0;
    const gap = function* (end: number): Iterable<MemoryRange> {
      for (; next < spans.length; next += 1) {
        const span = spans[next];
        if (span === undefined || span.start * pageSize >= end) return;
        const start = Math.max(at, span.start * pageSize);
        const stop = Math.min(end, span.end * pageSize);
        if (start < stop) yield { start, end: stop, presence: "absent", reason: span.reason };
        if (span.end * pageSize > end) return;
      }
    };
    for (const range of this.#indexed()) {
      yield* gap(range.start);
      yield range;
      at = range.end;
    }
    yield* gap(Number.POSITIVE_INFINITY);
  }

  *#indexed(): Iterable<MemoryRange> {
    const walk = this.#index.runs(0, FRAME_LIMIT, true);
    let open: (MemoryRange & { end: number }) | undefined;
    let openReason: Reason | undefined;
    while (walk.next()) {
      const reason = this.#reasonOf(walk.code);
      const start = walk.frame * this.pageSize;
      const end = start + walk.count * this.pageSize;
      if (open?.end === start && openReason === reason) {
        open.end = end;
        continue;
      }
      if (open !== undefined) yield open;
      openReason = reason;
      open = {
        start,
        end,
        presence: reason?.presence ?? "present",
        reason: reason?.reason,
      };
    }
    if (open !== undefined) yield open;
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    // no byte is between two
    if (!Number.isInteger(gpa)) return 0;
    const frame = Math.floor(gpa / this.pageSize);
    const within = gpa % this.pageSize;
    if (within + into.length <= this.pageSize) {
      const code = this.#index.get(frame);
      if (code >= 0) return this.#source.read(code + within, into);
    }
    return this.#readOn(gpa, into, 0);
  }

  contiguous(gpa: number, most: number): SourcePiece | undefined {
    const within = gpa % this.pageSize;
    const first = Math.floor(gpa / this.pageSize);
    const code = this.#index.get(first);
    if (code < 0) return undefined;
    const wanted = Math.ceil((within + most) / this.pageSize);
    let pages = 0;
    // the index gives a part of it at a time
    do pages += this.#index.runLength(first + pages, wanted - pages);
    while (pages < wanted && this.#index.get(first + pages) === this.#index.advanced(code, pages));
    const length = Math.min(most, pages * this.pageSize - within);
    return { source: this.#source, offset: code + within, length };
  }

  /** Goes on after `done` bytes: in step with the source, asynchronous only where the source is. */
  #readOn(gpa: number, into: Uint8Array, done: number): MaybePromise<number> {
    let at = done;
    while (at < into.length) {
      const frame = Math.floor((gpa + at) / this.pageSize);
      const within = (gpa + at) % this.pageSize;
      const code = this.#index.get(frame);
      const rest = into.length - at;
      const most = isToken(code) ? 1 : Math.ceil((within + rest) / this.pageSize);
      const length = Math.min(rest, this.#index.runLength(frame, most) * this.pageSize - within);
      const part = into.subarray(at, at + length);
      const result = this.readRun(code, within, part);
      if (result instanceof Promise) {
        const from = at;
        return result.then((n) => (n < length ? from + n : this.#readOn(gpa, into, from + n)));
      }
      at += result;
      if (result < length) break;
    }
    return at;
  }

  /** Fills `into` from `within` bytes after the start of a run's code. Returns 0 for what is not there. */
  readRun(code: number, within: number, into: Uint8Array): MaybePromise<number> {
    if (code >= 0) return this.#source.read(code + within, into);
    if (isToken(code)) return this.#readDecoded(tokenOf(code), within, into);
    if (this.#reasonOf(code)?.presence !== "zero") return 0;
    into.fill(0);
    return into.length;
  }

  #readDecoded(token: number, within: number, into: Uint8Array): MaybePromise<number> {
    if (this.#decode === undefined)
      throw new FormatError(GUEST_RULES.noDecoder, "memory holds encoded pages, but no way to decode them");
    if (within === 0 && into.length === this.pageSize) {
      const whole = this.#decode(token, into);
      return whole instanceof Promise ? whole.then(() => into.length) : into.length;
    }
    const kept = this.#decoded;
    const copy = (page: Uint8Array): number => {
      into.set(page.subarray(within, within + into.length));
      return into.length;
    };
    if (kept?.token === token) return copy(kept.page);
    const page = new Uint8Array(this.pageSize);
    const finish = (): number => {
      this.#decoded = { token, page };
      return copy(page);
    };
    const result = this.#decode(token, page);
    return result instanceof Promise ? result.then(finish) : finish();
  }

  pieces(from = 0, to = Number.POSITIVE_INFINITY): AsyncIterable<MemoryPiece> {
    // whole bytes of what exists; nothing for what is no number
    const isRange = from < to;
    const start = isRange ? Math.max(0, Math.ceil(from)) : 0;
    const end = isRange ? Math.floor(to) : 0;
    const limit = FRAME_LIMIT * PAGE_SIZE;
    const last = Math.min(Math.ceil(Math.min(end, limit) / this.pageSize), FRAME_LIMIT);
    const walk = this.#index.runs(Math.floor(start / this.pageSize), last);
    const { pageSize } = this;
    /** One run at a time, cut to the bytes asked for. */
    const run = { gpa: 0, length: 0, code: NOWHERE, within: 0, zero: false };
    const next = (): typeof run | undefined => {
      for (;;) {
        if (!walk.next()) return undefined;
        const presence = this.#reasonOf(walk.code)?.presence;
        if (presence === "absent") continue;
        const first = walk.frame * pageSize;
        run.gpa = Math.max(first, start);
        run.length = Math.min(first + walk.count * pageSize, end) - run.gpa;
        run.code = walk.code;
        run.within = run.gpa - first;
        run.zero = presence === "zero";
        if (run.length > 0) return run;
      }
    };
    return readPieces(next, this, this.#source, Math.max(0, end - start));
  }
}
