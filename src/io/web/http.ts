import type { ByteSource, ByteStream, MaybePromise } from "../byte-source.js";
import { SystemError } from "../../findings/errors.js";
import { webStream } from "./blob.js";
import { type HttpOptions, type HttpStatistics, RangeRequests, type Validators } from "./range-requests.js";

export type { HttpOptions, HttpStatistics } from "./range-requests.js";

/** Bytes that the first request brings. */
const HEAD = 64 << 10;
/** Bytes that are kept and asked for together: small enough for one header, and worth a request. */
const PART = 16 << 10;
/** Parts of one request at most. */
const MOST_TOGETHER = 64;
/** Requests ahead of what is read, in order or by leaps. */
const AHEAD = 6;
/** Bytes ahead at the end of a leap, at least: a header, and what follows it. */
const LEAST_AHEAD = 12 << 10;
/** Bytes of one step of a longer read. */
const STEP = 2 << 20;
const MEMORY = 8 << 20;

/** A file of a web server, as the server gives it. */
export interface HttpInput {
  /** A source where the server gives ranges, else the file in order, once. */
  readonly input: HttpSource | ByteStream;
  readonly statistics: Readonly<HttpStatistics>;
  /** Gives up requests under way. */
  close(): void;
}

/**
 * Opens a file at an http or https address; the first request brings its start. Passwords in the address and its
 * query appear in no message.
 * @throws SystemError `http/…` when the server refuses or can't be reached
 */
export async function openHttp(address: string, options: HttpOptions = {}): Promise<HttpInput> {
  const requests = new RangeRequests(address, options);
  const { statistics } = requests;
  const close = (): void => requests.close();
  const opened = await requests.open(HEAD);
  if (opened.kind === "ranges")
    return {
      input: new HttpSource(requests, opened.validators, opened.head, options.memory),
      statistics,
      close,
    };
  const stream = webStream(await requests.stream(), requests.name);
  return { input: guarded(stream, statistics), statistics, close };
}

/** Turns what the platform throws into errors of this project. */
function guarded(stream: ByteStream, statistics: HttpStatistics): ByteStream {
  return {
    name: stream.name,
    async read(into) {
      try {
        const n = await stream.read(into);
        statistics.bytes += n;
        return n;
      } catch (error) {
        throw new SystemError("http/failed", `the download broke off: ${(error as Error).message}`, {
          source: stream.name,
          offset: statistics.bytes,
        });
      }
    },
  };
}

/**
 * A file of a web server that gives ranges. What was read is kept in parts; reading in order, or by leaps of one
 * length as over records, is met with requests ahead. A file that changes meanwhile is refused.
 */
export class HttpSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #requests: RangeRequests;
  readonly #validators: Validators;
  /** Parts by index, the one used last at the end. */
  readonly #parts = new Map<number, Uint8Array>();
  /** Buffers of parts that were given up. */
  readonly #free: Uint8Array[] = [];
  readonly #flying = new Map<number, Promise<void>>();
  readonly #most: number;
  /** End of the last read, reads in order, and the last leap between reads. */
  #end = 0;
  #inOrder = 0;
  #last = 0;
  #leap = 0;

  constructor(requests: RangeRequests, validators: Validators, head: Uint8Array, memory = MEMORY) {
    this.name = requests.name;
    this.size = validators.size;
    this.#requests = requests;
    this.#validators = validators;
    this.#most = Math.max(2 * (STEP / PART), Math.floor(memory / PART));
    for (let at = 0; at < head.length; at += PART) this.#parts.set(at / PART, head.slice(at, at + PART));
  }

  /**
   * Asks whether the file is still the one that was opened; a server that doesn't answer says nothing about it.
   * @throws SystemError `http/changed`, or what the server answers in the file's place, such as `http/404`
   */
  check(): Promise<void> {
    return this.#requests.check(this.#validators);
  }

  read(offset: number, into: Uint8Array): MaybePromise<number> {
    const length = Math.max(0, Math.min(into.length, this.size - offset));
    if (length === 0) return 0;
    this.#lookAhead(offset, length);
    const wanted = length === into.length ? into : into.subarray(0, length);
    return this.#copy(offset, wanted) ? length : this.#fetch(offset, wanted);
  }

  /** Fills `into` from parts at hand. False: one is missing. */
  #copy(offset: number, into: Uint8Array): boolean {
    for (let done = 0; done < into.length; ) {
      const index = Math.floor((offset + done) / PART);
      const part = this.#parts.get(index);
      if (part === undefined) return false;
      const at = (offset + done) % PART;
      const piece = part.subarray(at, at + into.length - done);
      into.set(piece, done);
      done += piece.length;
      // used last
      this.#parts.delete(index);
      this.#parts.set(index, part);
    }
    return true;
  }

  async #fetch(offset: number, into: Uint8Array): Promise<number> {
    for (let done = 0; done < into.length; done += STEP) {
      const step = into.subarray(done, done + STEP);
      // a part may have been given up for others while the rest was on its way
      while (!this.#copy(offset + done, step))
        await Promise.all(
          this.#ask(Math.floor((offset + done) / PART), (offset + done + step.length - 1) / PART),
        );
    }
    return into.length;
  }

  /** Asks for the parts from `first` to `last` that are neither here nor on their way; gives what is waited for. */
  #ask(first: number, last: number): Promise<void>[] {
    const waits = new Set<Promise<void>>();
    for (let index = first; index <= last; ) {
      const flying = this.#flying.get(index);
      if (flying !== undefined) waits.add(flying);
      if (flying !== undefined || this.#parts.has(index)) {
        index += 1;
        continue;
      }
      let end = index + 1;
      while (end <= last && end - index < MOST_TOGETHER && !this.#parts.has(end) && !this.#flying.has(end))
        end += 1;
      waits.add(this.#request(index, end));
      index = end;
    }
    return [...waits];
  }

  /** One request for parts [first, end). */
  #request(first: number, end: number): Promise<void> {
    const start = first * PART;
    const length = Math.min(end * PART, this.size) - start;
    const parts = Array.from({ length: end - first }, (_, i) =>
      this.#buffer(Math.min(PART, length - i * PART)),
    );
    const arrival = this.#requests.read(start, length, parts, this.#validators).then(
      () => {
        for (const [i, part] of parts.entries()) this.#keep(first + i, part);
        this.#landed(first, end);
      },
      (error: unknown) => {
        this.#landed(first, end);
        throw error;
      },
    );
    for (let index = first; index < end; index += 1) this.#flying.set(index, arrival);
    // met by who reads there, if anyone does
    arrival.catch(() => undefined);
    return arrival;
  }

  #landed(first: number, end: number): void {
    for (let index = first; index < end; index += 1) this.#flying.delete(index);
  }

  #keep(index: number, part: Uint8Array): void {
    this.#parts.set(index, part);
    if (this.#parts.size <= this.#most) return;
    const [oldest] = this.#parts;
    if (oldest === undefined) return;
    this.#parts.delete(oldest[0]);
    this.#free.push(oldest[1]);
  }

  /** A buffer that was given up, or a new one: garbage of this kind is collected late. */
  #buffer(length: number): Uint8Array {
    const used = length === PART ? this.#free.pop() : undefined;
    return used?.length === PART ? used : new Uint8Array(length);
  }

  /** Asks ahead of a read, when the last ones show where the next will be. */
  #lookAhead(offset: number, length: number): void {
    const isNext = offset >= this.#end - PART && offset <= this.#end + PART;
    if (isNext) {
      if (offset + length > this.#end) this.#inOrder += offset + length - this.#end;
      this.#end = Math.max(this.#end, offset + length);
      if (this.#inOrder >= 2 * HEAD) this.#askInOrder();
      return;
    }
    this.#inOrder = 0;
    this.#end = offset + length;
    const leap = offset - this.#last;
    this.#last = offset;
    const isSame = leap > 0 && Math.abs(leap - this.#leap) < PART;
    this.#leap = leap;
    if (isSame) this.#askByLeaps(offset, length);
  }

  /** The further it went in order, the more is asked for, up to AHEAD requests of full length. */
  #askInOrder(): void {
    const next = Math.ceil(this.#end / PART);
    const together = Math.max(1, Math.min(MOST_TOGETHER, Math.floor(this.#inOrder / PART / 2)));
    const last = Math.min(Math.ceil(this.size / PART), next + together * AHEAD);
    for (let index = next; index < last; index += 1) {
      if (this.#parts.has(index) || this.#flying.has(index)) continue;
      // not in small pieces as the reader moves on
      if (last - index < together && last * PART < this.size) return;
      const end = Math.min(index + together, last);
      void this.#ask(index, end - 1);
      index = end - 1;
    }
  }

  #askByLeaps(offset: number, length: number): void {
    for (let i = 1; i <= AHEAD; i += 1) {
      const at = offset + i * this.#leap;
      if (at >= this.size) return;
      const last = Math.min(at + Math.max(length, LEAST_AHEAD), this.size) - 1;
      void this.#ask(Math.floor(at / PART), Math.floor(last / PART));
    }
  }
}
