import { bytesSource, isByteSource, readFully } from "../src/io/byte-source.js";
import { GuestscopeError } from "../src/findings/errors.js";
import type { Ask, WebAnswer } from "../src/io/web/ask.js";
import { openHttp } from "../src/io/web/http.js";
import { attempt, type Outcome, Violation } from "./checks.js";
import type { Random } from "./random.js";

const MOST_READS = 12;
const STATUSES = [200, 204, 301, 400, 403, 404, 416, 429, 500, 503, 999] as const;

/** A server that gives a file's bytes, mostly as it should. */
function faulty(bytes: Uint8Array, random: Random, faults: number): Ask {
  return async (url, { headers, signal }) => {
    signal.throwIfAborted();
    const [, from = "0", to = "0"] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
    const start = Number(from);
    const end = Math.min(Number(to) + 1, bytes.length);
    const isFault = random.oneIn(faults);
    const kind = isFault ? random.below(7) : -1;
    if (kind === 0) throw new TypeError("fetch failed", { cause: { code: "ECONNRESET" } });
    const status = kind === 1 ? (STATUSES[random.below(STATUSES.length)] ?? 500) : 206;
    const range = `bytes ${kind === 2 ? start + 1 + random.below(9) : start}-${end - 1}/${bytes.length + (kind === 3 ? 1 : 0)}`;
    const more = kind === 4 ? random.below(40_000) : 0;
    const cut = kind === 5 ? random.below(Math.max(1, end - start)) : 0;
    const body = new Uint8Array(Math.max(0, end - start - cut) + more);
    body.set(bytes.subarray(start, end - cut));
    return answer(
      url,
      status,
      { "content-range": range, etag: kind === 6 ? '"other"' : '"one"' },
      body,
      random,
    );
  };
}

function answer(
  url: string,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
  random: Random,
): WebAnswer {
  let at = 0;
  return {
    status,
    statusText: "",
    url,
    headers: { get: (name) => headers[name] ?? null },
    body: {
      getReader: () => ({
        async read() {
          if (at >= body.length) return { done: true };
          const value = body.slice(at, at + 1 + random.below(30_000));
          at += value.length;
          return { done: false, value };
        },
      }),
    },
  };
}

/** Reads a file from a server with faults: what is read is what the file has, or there is an error. */
export async function checkWeb(bytes: Uint8Array, random: Random): Promise<Outcome> {
  const fetch = faulty(bytes, random, 2 + random.below(12));
  const options = {
    fetch,
    pause: 0,
    retries: 1 + random.below(3),
    timeout: 1000,
    memory: random.below(2) << 18,
  };
  const opened = await attempt("http", async () => openHttp("http://fuzz/file", options));
  if (opened instanceof GuestscopeError) return opened.code;
  const { input } = opened;
  try {
    if (!isByteSource(input)) return "stream";
    const whole = bytesSource(bytes);
    for (let i = 0; i < MOST_READS; i += 1) {
      const at = random.below(bytes.length + 1);
      const got = new Uint8Array(1 + random.below(200_000));
      const n = await attempt("http read", async () => readFully(input, at, got));
      if (n instanceof GuestscopeError) return n.code;
      const expected = new Uint8Array(got.length);
      const m = await readFully(whole, at, expected);
      if (n !== m || Buffer.compare(got.subarray(0, n), expected.subarray(0, m)) !== 0)
        throw new Violation(`http: ${n} bytes at ${at} are not the file's`);
    }
    return "read";
  } finally {
    opened.close();
  }
}
