import { SystemError } from "../../findings/errors.js";
import type { AnswerBody, Ask, WebAnswer } from "./ask.js";

/** How a web server is asked. */
export interface HttpOptions {
  /** Sent with every request to the address's own origin: a token, for instance. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds without a byte after which a request is given up; default 30,000. */
  readonly timeout?: number;
  /** How often a request that failed is made again; default 4. */
  readonly retries?: number;
  /** Milliseconds before the first of those, doubled each time; default 250. */
  readonly pause?: number;
  /** Bytes kept in memory; default 24 MiB. */
  readonly memory?: number;
  /** Called instead of the platform's `fetch`. */
  readonly fetch?: Ask;
}

/** What was asked of a server so far. */
export interface HttpStatistics {
  /** Requests made, those made again included. */
  requests: number;
  /** Requests made again after a failure. */
  retries: number;
  /** Bytes of contents received. */
  bytes: number;
}

/** What distinguishes one version of a file from another. */
export interface Validators {
  readonly etag: string | null;
  readonly lastModified: string | null;
  readonly size: number;
}

const TIMEOUT = 30_000;
const RETRIES = 4;
const PAUSE = 250;
const LONGEST_PAUSE = 10_000;
/** Answers worth asking again: too many requests, and the server's own troubles. */
const isPassing = (status: number): boolean => status === 408 || status === 429 || status >= 500;

/** A failure that asking again may mend. */
class PassingError extends Error {
  readonly code: string;
  readonly after: number | undefined;

  constructor(code: string, message: string, after?: number) {
    super(message);
    this.code = code;
    this.after = after;
  }
}

/** Asks one server for one file. */
export class RangeRequests {
  readonly name: string;
  readonly statistics: HttpStatistics = { requests: 0, retries: 0, bytes: 0 };
  readonly #options: HttpOptions;
  readonly #origin: string;
  readonly #headers: Record<string, string>;
  readonly #closed = new AbortController();
  #url: string;

  /** @throws SystemError for an address that is none */
  constructor(address: string, options: HttpOptions) {
    let url: URL;
    try {
      url = new URL(address);
    } catch {
      throw new SystemError("http/address", "is no web address", { source: address });
    }
    // neither a password nor what a presigned address carries belongs in messages
    this.name = `${url.origin}${url.pathname}`;
    this.#options = options;
    this.#origin = url.origin;
    this.#headers = { ...options.headers };
    if (url.username !== "") {
      const plain = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
      this.#headers["authorization"] ??= `Basic ${btoa(plain)}`;
      url.username = "";
      url.password = "";
    }
    this.#url = url.href;
  }

  /** Gives up what is under way. */
  close(): void {
    this.#closed.abort();
  }

  /**
   * Asks for bytes up to `end` from where `from` says, and hands the answer to `use`, which may throw a PassingError;
   * asks again while that helps. Every failure is a SystemError `http/…`.
   */
  #ask<T>(from: () => number, end: number, use: (answer: Answer) => Promise<T>): Promise<T> {
    return this.#retried(from, (start) => this.#once(start, end, use));
  }

  /** Does what asks the server for bytes from an offset on, again while that helps; it may throw a PassingError. */
  async #retried<T>(from: () => number, once: (start: number) => Promise<T>): Promise<T> {
    const { retries = RETRIES, pause = PAUSE } = this.#options;
    for (let attempt = 0; ; attempt += 1) {
      const start = from();
      try {
        return await once(start);
      } catch (error) {
        if (!(error instanceof PassingError)) throw error;
        if (attempt >= retries || this.#closed.signal.aborted)
          throw new SystemError(
            error.code,
            attempt === 0 ? error.message : `${error.message} (${attempt + 1} attempts)`,
            { source: this.name, offset: start },
          );
        this.statistics.retries += 1;
        const wait = Math.min(error.after ?? pause * 2 ** attempt, LONGEST_PAUSE);
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  async #once<T>(start: number, end: number, use: (answer: Answer) => Promise<T>): Promise<T> {
    const { timeout = TIMEOUT, fetch: ask = fetch } = this.#options;
    const stop = new AbortController();
    const abort = (): void => stop.abort();
    this.#closed.signal.addEventListener("abort", abort);
    let stalled = false;
    const onStall = (): void => {
      stalled = true;
      stop.abort();
    };
    let timer = setTimeout(onStall, timeout);
    const alive = (): void => {
      clearTimeout(timer);
      timer = setTimeout(onStall, timeout);
    };
    try {
      this.statistics.requests += 1;
      const own = new URL(this.#url).origin === this.#origin ? this.#headers : {};
      const response = await ask(this.#url, {
        // contents as they are: ranges of packed ones would be others
        headers: { ...own, "accept-encoding": "identity", range: `bytes=${start}-${end - 1}` },
        signal: stop.signal,
        cache: "no-store",
      });
      alive();
      if (response.url !== "") this.#url = response.url;
      return await use({ response, start, alive });
    } catch (error) {
      if (error instanceof SystemError || error instanceof PassingError) throw error;
      if (this.#closed.signal.aborted)
        throw new SystemError("http/closed", "the input was closed", { source: this.name });
      if (stalled) throw new PassingError("http/stalled", `the server sent nothing for ${timeout / 1000} s`);
      throw this.#failure(error);
    } finally {
      clearTimeout(timer);
      this.#closed.signal.removeEventListener("abort", abort);
      // what was not read is not wanted
      stop.abort();
    }
  }

  /** The start of the file: `most` bytes of it at most; or the whole file as a stream from a server without ranges. */
  async open(most: number): Promise<Opened> {
    const ask = async ({ response, alive }: Answer): Promise<Opened> => {
      const { status, headers } = response;
      if (status === 200) return { kind: "whole", length: lengthOf(headers) };
      if (status === 416 && /^bytes \*\/0$/.test(headers.get("content-range") ?? ""))
        return { kind: "ranges", validators: validatorsOf(headers, 0), head: new Uint8Array(0) };
      if (status !== 206) throw this.#refused(response);
      const range = rangeOf(headers);
      if (range === undefined || range.start !== 0)
        throw new SystemError("http/range", "the server's answer to a range is none", { source: this.name });
      const validators = validatorsOf(headers, range.size);
      const head = new Uint8Array(Math.min(most, range.size));
      let n = 0;
      await this.#receive(response, head.length, (bytes) => {
        head.set(bytes, n);
        n += bytes.length;
        alive();
      });
      if (n < head.length)
        throw new PassingError("http/cut", `the answer ended after ${n} of ${head.length} bytes`);
      return { kind: "ranges", validators, head };
    };
    return this.#ask(() => 0, most, ask);
  }

  /** Fills buffers one after another with `length` bytes from `offset` on; where an answer is cut off the next request goes on from there. */
  async read(
    offset: number,
    length: number,
    into: readonly Uint8Array[],
    validators: Validators,
  ): Promise<void> {
    let done = 0;
    const put = scattering(into);
    const use = async ({ response, start, alive }: Answer): Promise<void> => {
      const place = { source: this.name, offset: start };
      if (response.status === 200)
        throw new SystemError("http/range", "the server stopped giving ranges", place);
      if (response.status !== 206) throw this.#refused(response);
      const range = rangeOf(response.headers);
      if (range === undefined || range.start !== start)
        throw new SystemError("http/range", "the server gave another range", place);
      this.#compare(validatorsOf(response.headers, range.size), validators, start);
      await this.#receive(response, length - done, (bytes) => {
        put(bytes);
        done += bytes.length;
        alive();
      });
      if (done < length)
        throw new PassingError("http/cut", `the answer ended after ${done} of ${length} bytes`);
    };
    await this.#ask(() => offset + done, offset + length, use);
  }

  /** Asks once for a byte of the file, to compare it. @throws SystemError when it changed or is refused */
  async check(validators: Validators): Promise<void> {
    if (validators.size === 0) return;
    const use = async ({ response }: Answer): Promise<void> => {
      const { status, headers } = response;
      // shorter now, to nothing
      const size = status === 416 ? 0 : rangeOf(headers)?.size;
      if (size === undefined) throw this.#refused(response);
      this.#compare(validatorsOf(headers, size), validators, 0);
    };
    try {
      await this.#once(0, 1, use);
    } catch (error) {
      if (!(error instanceof PassingError)) throw error;
    }
  }

  /**
   * The whole file in order, for a server without ranges: asked again until it answers. A failure after that is final,
   * for it can't go on in the middle. @throws SystemError `http/…`
   */
  stream(): Promise<AnswerBody> {
    const { fetch: ask = fetch } = this.#options;
    return this.#retried(
      () => 0,
      async () => {
        this.statistics.requests += 1;
        const own = new URL(this.#url).origin === this.#origin ? this.#headers : {};
        const how = { headers: own, signal: this.#closed.signal, cache: "no-store" } as const;
        const response = await ask(this.#url, how).catch((error: unknown) => {
          if (this.#closed.signal.aborted)
            throw new SystemError("http/closed", "the input was closed", { source: this.name });
          throw this.#failure(error);
        });
        if (response.status === 200 && response.body !== null) return response.body;
        throw this.#refused(response);
      },
    );
  }

  #compare(found: Validators, expected: Validators, offset: number): void {
    if (
      found.size === expected.size &&
      found.etag === expected.etag &&
      found.lastModified === expected.lastModified
    )
      return;
    throw new SystemError("http/changed", "the file was changed while it was read", {
      source: this.name,
      offset,
    });
  }

  /** Hands the bytes of a body to `take` as they arrive, `most` at most: more of them is an error. */
  async #receive(response: WebAnswer, most: number, take: (bytes: Uint8Array) => void): Promise<void> {
    const encoding = response.headers.get("content-encoding");
    if (encoding !== null && encoding !== "identity")
      throw new SystemError("http/encoding", `the server packs ranges as ${encoding}`, { source: this.name });
    const reader = response.body?.getReader();
    for (let done = 0; ; ) {
      const next = await reader?.read();
      if (next?.value === undefined) return;
      done += next.value.length;
      if (done > most)
        throw new SystemError("http/range", "the server gave more than was asked for", { source: this.name });
      this.statistics.bytes += next.value.length;
      take(next.value);
    }
  }

  /** What a failed fetch means: passing, but for an address that leads nowhere. */
  #failure(error: unknown): Error {
    const { message, cause } = error as { message?: string; cause?: { message?: string; code?: string } };
    const reason = cause?.message || cause?.code || message || String(error);
    const place = { source: this.name };
    if (/redirect/i.test(reason))
      return new SystemError("http/redirect", `redirected too often: ${reason}`, place);
    const isNobody = ["ENOTFOUND", "ECONNREFUSED"].includes(cause?.code ?? "") && this.statistics.bytes === 0;
    if (isNobody) return new SystemError("http/unreachable", `can't be reached: ${reason}`, place);
    return new PassingError("http/failed", `the request failed: ${reason}`);
  }

  #refused({ status, statusText, headers }: WebAnswer): Error {
    const message = `the server answered ${status}${statusText === "" ? "" : ` ${statusText}`}`;
    const after = Number(headers.get("retry-after") ?? Number.NaN) * 1000;
    if (isPassing(status)) return new PassingError(`http/${status}`, message, after > 0 ? after : undefined);
    return new SystemError(`http/${status}`, message, { source: this.name });
  }
}

/** Puts bytes into buffers one after another. */
function scattering(into: readonly Uint8Array[]): (bytes: Uint8Array) => void {
  let index = 0;
  let at = 0;
  return (bytes) => {
    for (let done = 0; done < bytes.length; ) {
      const buffer = into[index];
      if (buffer === undefined) return;
      const piece = bytes.subarray(done, done + buffer.length - at);
      buffer.set(piece, at);
      done += piece.length;
      at += piece.length;
      if (at < buffer.length) continue;
      index += 1;
      at = 0;
    }
  };
}

interface Answer {
  readonly response: WebAnswer;
  /** First byte that was asked for. */
  readonly start: number;
  /** Called when bytes arrive: the server isn't stalled. */
  readonly alive: () => void;
}

/** What a server gives of a file. */
export type Opened =
  | { readonly kind: "ranges"; readonly validators: Validators; readonly head: Uint8Array }
  | { readonly kind: "whole"; readonly length: number | undefined };

function lengthOf(headers: WebAnswer["headers"]): number | undefined {
  const length = Number(headers.get("content-length") ?? Number.NaN);
  return Number.isSafeInteger(length) ? length : undefined;
}

/** `bytes 0-99/1234`; a size that isn't given is of no use. */
function rangeOf(
  headers: WebAnswer["headers"],
): { readonly start: number; readonly size: number } | undefined {
  const [, start, , size] =
    /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(headers.get("content-range") ?? "") ?? [];
  return start === undefined || size === undefined ? undefined : { start: Number(start), size: Number(size) };
}

function validatorsOf(headers: WebAnswer["headers"], size: number): Validators {
  return { etag: headers.get("etag"), lastModified: headers.get("last-modified"), size };
}
