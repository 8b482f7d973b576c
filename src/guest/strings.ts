import type { SearchPiece } from "./search.js";

/** A run of printable characters in memory. */
export interface FoundString {
  readonly address: bigint;
  readonly text: string;
}

/** How a character is kept: one byte each, or two, the second zero (UTF-16LE). */
export type StringEncoding = "ascii" | "utf-16le";

/** Characters of one string; a longer run goes on as another. */
const LONGEST = 64 << 10;
const TAB = 9;

/** 1 for what `strings` takes as text: printable ASCII and the tab. */
const PRINTABLE = Uint8Array.from({ length: 256 }, (_, byte) =>
  (byte >= 0x20 && byte < 0x7f) || byte === TAB ? 1 : 0,
);

/**
 * Runs of at least `least` printable characters, as the `strings` program finds them, across the borders of pieces that
 * follow each other. A string ends at memory that is missing.
 */
export async function* findStrings(
  pieces: AsyncIterable<SearchPiece>,
  least: number,
  encoding: StringEncoding = "ascii",
): AsyncGenerator<FoundString, void, undefined> {
  const runs = encoding === "ascii" ? new Runs(least) : new WideRuns(least);
  let next: bigint | undefined;
  for await (const { address, length, bytes } of pieces) {
    if (address !== next || bytes === undefined) yield* runs.end();
    if (bytes !== undefined) yield* runs.feed(address, bytes);
    next = address + BigInt(length);
  }
  yield* runs.end();
}

/** Bytes of text gathered until one comes that is none. */
class Runs {
  readonly #least: number;
  #start = 0n;
  /** Text of the open run that earlier pieces held. */
  #open = "";

  constructor(least: number) {
    this.#least = least;
  }

  *feed(address: bigint, bytes: Uint8Array): Generator<FoundString> {
    const least = this.#least;
    const { length } = bytes;
    let at = 0;
    if (this.#open !== "") {
      while (at < length && PRINTABLE[bytes[at] ?? 0] === 1 && at < LONGEST) at += 1;
      this.#open += textOf(bytes, 0, at);
      if (at === length && this.#open.length < LONGEST) return;
      yield* this.end();
    }
    while (at < length) {
      // a run of `least` bytes holds its last: where that is none, the run begins after it
      let last = at + least - 1;
      if (last < length && PRINTABLE[bytes[last] ?? 0] === 0) {
        at = last + 1;
        continue;
      }
      if (last >= length) last = length - 1;
      let start = last;
      while (start >= at && PRINTABLE[bytes[start] ?? 0] === 1) start -= 1;
      start += 1;
      if (start > at && start + least <= length) {
        at = start;
        continue;
      }
      let end = last + 1;
      while (end < length && PRINTABLE[bytes[end] ?? 0] === 1 && end - start < LONGEST) end += 1;
      if (end === length) {
        this.#start = address + BigInt(start);
        this.#open = textOf(bytes, start, end);
        return;
      }
      if (end - start >= least) yield { address: address + BigInt(start), text: textOf(bytes, start, end) };
      at = end;
    }
  }

  *end(): Generator<FoundString> {
    const text = this.#open;
    this.#open = "";
    if (text.length >= this.#least) yield { address: this.#start, text };
  }
}

/** A run that may go on. */
interface OpenRun {
  start: bigint;
  text: string;
}

/** The same for characters of two bytes, at even and at odd addresses. */
class WideRuns {
  readonly #least: number;
  /** By the parity of the address: where the open run began, and its text. */
  readonly #open: readonly [OpenRun, OpenRun] = [
    { start: 0n, text: "" },
    { start: 0n, text: "" },
  ];
  /** A byte whose fellow the next piece holds. */
  #half: number | undefined;

  constructor(least: number) {
    this.#least = least;
  }

  *feed(address: bigint, bytes: Uint8Array): Generator<FoundString> {
    const half = this.#half;
    if (half !== undefined) yield* this.#take(address - 1n, half, bytes[0] ?? 1);
    for (let at = 0; at + 1 < bytes.length; at += 1) {
      const low = bytes[at] ?? 0;
      const high = bytes[at + 1] ?? 0;
      // most bytes end no run
      if (high === 0 && PRINTABLE[low] === 1) yield* this.#take(address + BigInt(at), low, high);
      else if (this.#open[0].text !== "" || this.#open[1].text !== "")
        yield* this.#take(address + BigInt(at), low, high);
    }
    this.#half = bytes.at(-1);
  }

  *#take(address: bigint, low: number, high: number): Generator<FoundString> {
    const open = this.#open[address % 2n === 0n ? 0 : 1];
    const isText = high === 0 && PRINTABLE[low] === 1;
    if (isText && open.text.length < LONGEST) {
      if (open.text === "") open.start = address;
      open.text += String.fromCharCode(low);
      return;
    }
    if (open.text.length >= this.#least) yield { address: open.start, text: open.text };
    open.text = isText ? String.fromCharCode(low) : "";
    if (isText) open.start = address;
  }

  *end(): Generator<FoundString> {
    this.#half = undefined;
    for (const open of this.#open) {
      if (open.text.length >= this.#least) yield { address: open.start, text: open.text };
      open.text = "";
    }
  }
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, Math.min(end, at + 8192)));
  return text;
}
