import type { Match, Pattern } from "./pattern.js";
import type { PhysicalMemory, SourcePiece } from "./memory.js";
import { readExactly } from "./pieces.js";
import { yieldToEventLoop } from "../io/event-loop.js";

/** Memory in which something was found. */
export interface Hit {
  /** Of the first byte that matches: guest-physical, or virtual where virtual memory is searched. */
  readonly address: bigint;
  readonly length: number;
  /** The pattern's kind. */
  readonly kind: string;
  /** Bytes around the match, a copy. */
  readonly context: Uint8Array;
  /** Where in `context` the match begins. */
  readonly contextStart: number;
}

/** A piece of memory with its address as a bigint: what is searched. Pieces ascend. */
export interface SearchPiece {
  readonly address: bigint;
  readonly length: number;
  /** undefined: all zeros. Valid until the next piece is asked for. */
  readonly bytes: Uint8Array | undefined;
}

/** Called for every hit, ascending for each pattern; false ends the search. */
export type OnHit = (hit: Hit) => boolean | undefined;

/** How a search is done. */
export interface SearchOptions {
  /** Bytes before and after a match that come with it; default none. */
  readonly context?: number;
  /** Bytes that are gone through before `reached` is called again; default: as pieces come. */
  readonly step?: number;
  /** Called as the search goes on, and waited for: all hits that begin before `address` were told. */
  readonly reached?: (address: bigint) => Promise<void>;
}

const NOTHING = new Uint8Array(0);

/** Bytes of a block: a file answers for so many at once, and they stay in the CPU's cache while they are searched. */
const BLOCK = 256 << 10;
/** Memory that is in one piece of a file for as many bytes is read in such blocks. */
const LONG_PIECE = 4 << 20;
/** Other memory is gone through in stretches of so many bytes. */
const STRETCH = 256 << 20;

/** Guest-physical memory as pieces to search: what is absent is left out. */
export async function* physicalPieces(
  memory: PhysicalMemory,
  start = 0,
  end = Number.POSITIVE_INFINITY,
): AsyncGenerator<SearchPiece, void, undefined> {
  const block = new Uint8Array(BLOCK);
  for (const range of memory.ranges()) {
    const stop = Math.min(end, range.end);
    for (let at = Math.max(start, range.start); at < stop && range.presence !== "absent"; ) {
      const whole = range.presence === "present" ? memory.contiguous?.(at, stop - at) : undefined;
      if (whole?.source.file !== undefined && whole.length >= LONG_PIECE) {
        yield* blocksOf(whole, at, block);
        at += whole.length;
        continue;
      }
      const next = Math.min(stop, at + STRETCH);
      for await (const { gpa, length, bytes } of memory.pieces(at, next))
        yield { address: BigInt(gpa), length, bytes };
      at = next;
    }
  }
}

/** Memory that is in one piece of a file, read by the thread that searches it: to hand it to another takes longer. */
async function* blocksOf(
  { source, offset, length }: SourcePiece,
  gpa: number,
  block: Uint8Array,
): AsyncGenerator<SearchPiece, void, undefined> {
  for (let done = 0, sinceTurn = 0; done < length; ) {
    const part = block.subarray(0, Math.min(BLOCK, length - done));
    await readExactly(source, offset + done, part);
    yield { address: BigInt(gpa + done), length: part.length, bytes: part };
    done += part.length;
    sinceTurn += part.length;
    if (sinceTurn < LONG_PIECE) continue;
    sinceTurn = 0;
    await yieldToEventLoop();
  }
}

/**
 * Searches memory for patterns, in one pass, across the borders of pieces that follow each other. Matches of one pattern
 * don't overlap. Memory stays bounded: by a piece and the longest pattern.
 */
export async function searchMemory(
  pieces: AsyncIterable<SearchPiece>,
  patterns: readonly Pattern[],
  onHit: OnHit,
  options: SearchOptions = {},
): Promise<void> {
  const { context = 0, step = Infinity, reached } = options;
  const scans = patterns.map((pattern) => new Scan(pattern, context, onHit));
  let next: bigint | undefined;
  for await (const piece of pieces)
    for (const { address, length, bytes } of piece.length > step ? partsOf(piece, step) : [piece]) {
      for (const scan of scans) {
        if (address !== next && scan.finish()) return;
        const ended = bytes === undefined ? scan.zeros(address, length) : scan.feed(address, bytes);
        if (ended) return;
      }
      next = address + BigInt(length);
      await reached?.(scans.reduce((least, { decided }) => (decided < least ? decided : least), next));
    }
  for (const scan of scans) if (scan.finish()) return;
}

function* partsOf({ address, length, bytes }: SearchPiece, most: number): Generator<SearchPiece> {
  for (let at = 0; at < length; at += most) {
    const end = Math.min(at + most, length);
    yield { address: address + BigInt(at), length: end - at, bytes: bytes?.subarray(at, end) };
  }
}

/** The search for one pattern. Methods return true when no more hits are wanted. */
class Scan {
  readonly #pattern: Pattern;
  readonly #context: number;
  readonly #onHit: OnHit;
  /** Bytes that must follow a place before it is known whether a match begins there. */
  readonly #hold: number;
  /** Whether zeros alone match. */
  readonly #matchesZeros: boolean;
  /** Bytes before what comes next: context first, then those at which a match may still begin. */
  #tail: Uint8Array = NOTHING;
  /** How many of them are open. */
  #open = 0;
  /** Address after the tail. */
  #end = 0n;
  /** No match may begin before: the last one ended here. */
  #from = 0n;

  constructor(pattern: Pattern, context: number, onHit: OnHit) {
    this.#pattern = pattern;
    this.#context = context;
    this.#onHit = onHit;
    this.#hold = pattern.reach - 1 + context;
    const zeros = new Uint8Array(pattern.reach);
    this.#matchesZeros = pattern.find(zeros, 0, zeros.length) !== undefined;
  }

  /** The address before which every match was told. */
  get decided(): bigint {
    return this.#end - BigInt(this.#open);
  }

  feed(address: bigint, bytes: Uint8Array): boolean {
    const hold = this.#hold;
    const tail = this.#tail;
    this.#end = address + BigInt(bytes.length);
    let from = 0;
    if (tail.length === 0) this.#from = address;
    else {
      const start = address - BigInt(tail.length);
      const first = tail.length - this.#open;
      if (bytes.length <= hold + this.#context) {
        const seam = joined(tail, bytes);
        const decided = Math.max(first, seam.length - hold);
        if (this.#find(seam, start, first, decided)) return true;
        this.#keep(seam, decided);
        return false;
      }
      // far enough that the rest of the piece has its context in the piece itself
      from = this.#context;
      const seam = joined(tail, bytes.subarray(0, hold + from));
      if (this.#find(seam, start, first, tail.length + from)) return true;
    }
    const decided = Math.max(from, bytes.length - hold);
    if (this.#find(bytes, address, from, decided)) return true;
    this.#keep(bytes, decided);
    return false;
  }

  /** Keeps what is open from `from` on, and the context before it. */
  #keep(bytes: Uint8Array, from: number): void {
    this.#tail = new Uint8Array(bytes.subarray(Math.max(0, from - this.#context)));
    this.#open = bytes.length - from;
  }

  /** Zeros: no more of them are looked at than can be part of a match, unless zeros match. */
  zeros(address: bigint, length: number): boolean {
    const edge = 2 * this.#hold + this.#pattern.reach;
    if (this.#matchesZeros || length <= 2 * edge) {
      const block = new Uint8Array(Math.min(length, Math.max(edge, 1 << 18)));
      for (let done = 0; done < length; done += block.length)
        if (this.feed(address + BigInt(done), block.subarray(0, Math.min(block.length, length - done))))
          return true;
      return false;
    }
    const block = new Uint8Array(edge);
    if (this.feed(address, block)) return true;
    // what is between can't match
    this.#tail = NOTHING;
    this.#open = 0;
    return this.feed(address + BigInt(length - edge), block);
  }

  /** Nothing follows: decides what is open. */
  finish(): boolean {
    if (this.#tail.length === 0) return false;
    const tail = this.#tail;
    this.#tail = NOTHING;
    const first = tail.length - this.#open;
    this.#open = 0;
    return this.#find(tail, this.#end - BigInt(tail.length), first, tail.length);
  }

  #find(bytes: Uint8Array, start: bigint, first: number, before: number): boolean {
    let from = Math.max(first, Number(this.#from - start));
    while (from < before) {
      const match = this.#pattern.find(bytes, from, before);
      if (match === undefined) return false;
      from = match.at + match.length;
      this.#from = start + BigInt(from);
      if (this.#onHit(this.#hit(bytes, start, match)) === false) return true;
    }
    return false;
  }

  #hit(bytes: Uint8Array, start: bigint, { at, length }: Match): Hit {
    const begin = Math.max(0, at - this.#context);
    return {
      address: start + BigInt(at),
      length,
      kind: this.#pattern.kind,
      context: new Uint8Array(bytes.subarray(begin, at + length + this.#context)),
      contextStart: at - begin,
    };
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}
