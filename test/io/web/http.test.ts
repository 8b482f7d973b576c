import * as http from "node:http";
import type { AddressInfo } from "node:net";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isByteSource, readFully } from "../../../src/io/byte-source.js";
import { SystemError } from "../../../src/findings/errors.js";
import { nodeAsk } from "../../../src/io/node/http-ask.js";
import { type HttpInput, type HttpOptions, HttpSource, openHttp } from "../../../src/io/web/http.js";

const SIZE = 9_000_001;
const contents = Uint8Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 12)) & 0xff);

/** How the server answers the n-th request (from 1). */
type Fault = (n: number, request: http.IncomingMessage, response: http.ServerResponse) => boolean;

let fault: Fault = () => false;
let etag = '"one"';
let requests = 0;
let underWay = 0;
let mostUnderWay = 0;
let delay = 0;

function sendRange(request: http.IncomingMessage, response: http.ServerResponse, cut = 0): void {
  const [, from = "", to = ""] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  const start = Number(from);
  const end = Math.min(Number(to) + 1, SIZE);
  const body = contents.subarray(start, end);
  response.writeHead(206, {
    "content-range": `bytes ${start}-${end - 1}/${SIZE}`,
    "content-length": body.length,
    etag,
  });
  if (cut === 0) response.end(body);
  else {
    response.write(body.subarray(0, Math.floor(body.length / cut)));
    setTimeout(() => response.destroy(), 20);
  }
}

const server = http.createServer((request, response) => {
  requests += 1;
  underWay += 1;
  mostUnderWay = Math.max(mostUnderWay, underWay);
  response.on("close", () => {
    underWay -= 1;
  });
  if (fault(requests, request, response)) return;
  setTimeout(() => sendRange(request, response), delay);
});

/** The platform's client, or ours. */
let client: HttpOptions = {};
let address = "";
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/save?signature=secret`;
});
afterAll(() => server.closeAllConnections());
afterAll(() => server.close());

async function open(how: Fault = () => false, options: HttpOptions = {}): Promise<HttpInput> {
  fault = how;
  etag = '"one"';
  requests = 0;
  mostUnderWay = 0;
  delay = 0;
  return openHttp(address, { pause: 5, ...client, ...options });
}

async function source(how?: Fault, options?: HttpOptions): Promise<HttpSource> {
  const { input } = await open(how, options);
  if (!(input instanceof HttpSource)) throw new Error("no ranges");
  return input;
}

async function sameAt(input: HttpSource, offset: number, length: number): Promise<boolean> {
  const into = new Uint8Array(length);
  const n = await readFully(input, offset, into);
  return (
    n === Math.max(0, Math.min(length, SIZE - offset)) &&
    Buffer.compare(into.subarray(0, n), contents.subarray(offset, offset + n)) === 0
  );
}

/** Status of an answer without contents. */
const answer =
  (status: number, headers: Record<string, string> = {}): Fault =>
  (_n, _request, response) => {
    response.writeHead(status, headers).end();
    return true;
  };

const CLIENTS: readonly (readonly [string, HttpOptions])[] = [
  ["fetch", {}],
  ["Node's client", { fetch: nodeAsk() }],
];

describe.each(CLIENTS)("a file behind a web server, by %s", (_name, how) => {
  beforeAll(() => {
    client = how;
  });

  it("reads the same at any place, in any order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(SIZE + 10), fc.integer({ min: 1, max: 700_000 })), { maxLength: 8 }),
        async (reads) => {
          const input = await source(undefined, { memory: 0 });
          expect(input.size).toBe(SIZE);
          for (const [offset, length] of reads) expect(await sameAt(input, offset, length)).toBe(true);
        },
      ),
      { numRuns: 20 },
    );
  });

  it("opens with one request, whose contents serve the first reads", async () => {
    const { input, statistics } = await open();
    expect(isByteSource(input) && (await sameAt(input as HttpSource, 0, 60_000))).toBe(true);
    expect(statistics).toMatchObject({ requests: 1, retries: 0 });
    expect(input.name).toMatch(/^http:\/\/127.0.0.1:\d+\/save$/);
  });

  it("is asked for ahead when it is read in order", async () => {
    const input = await source();
    delay = 10;
    for (let at = 0; at < SIZE; at += 100_000) expect(await sameAt(input, at, 100_000)).toBe(true);
    expect(mostUnderWay).toBeGreaterThan(3);
    expect(requests).toBeLessThan(40);
  });

  it("is asked for ahead when it is read by leaps, about once a leap", async () => {
    const input = await source();
    delay = 10;
    const leap = 300_005;
    let leaps = 0;
    for (let at = 0; at < SIZE; at += leap) {
      expect(await sameAt(input, at, 4096)).toBe(true);
      expect(await sameAt(input, at + 4096, 8192)).toBe(true);
      leaps += 1;
    }
    expect(mostUnderWay).toBeGreaterThan(3);
    // a header that two parts share takes one more
    expect(requests).toBeLessThan(leaps * 1.5);
  });

  it("keeps what it may of the contents, no more", async () => {
    const input = await source(undefined, { memory: 0 });
    for (let at = 0; at < SIZE; at += 1 << 20) await sameAt(input, at, 1 << 20);
    const before = requests;
    expect(await sameAt(input, 0, 100)).toBe(true);
    expect(requests).toBeGreaterThan(before);
  });
});

describe.each(CLIENTS)("a web server with faults, by %s", (name, how) => {
  beforeAll(() => {
    client = how;
  });

  it("that is overloaded for a while is asked again", async () => {
    const busy: Fault = (n, request, response) =>
      n % 3 !== 0 && answer(n % 2 ? 503 : 500)(n, request, response);
    const input = await source(busy);
    expect(await sameAt(input, 1_000_000, 500_000)).toBe(true);
  });

  it("that breaks off within an answer is asked for the rest", async () => {
    const asked: string[] = [];
    const breaking: Fault = (n, request, response) => {
      asked.push(request.headers.range ?? "");
      if (n !== 2) return false;
      sendRange(request, response, 2);
      return true;
    };
    const input = await source(breaking);
    expect(await sameAt(input, 1_000_000, 300_000)).toBe(true);
    const [second = "", third = ""] = asked.slice(1);
    const start = (range: string): number => Number(/=(\d+)/.exec(range)?.[1]);
    expect(start(third)).toBeGreaterThan(start(second));
    expect(/-(\d+)/.exec(third)?.[1]).toBe(/-(\d+)/.exec(second)?.[1]);
  });

  it("that resets every connection is given up after a few attempts", async () => {
    const reset: Fault = (_n, request) => {
      request.socket.destroy();
      return true;
    };
    await expect(open(reset, { retries: 2 })).rejects.toMatchObject({ code: "http/failed" });
    expect(requests).toBe(3);
  });

  it("that sends nothing is given up after a time", async () => {
    await expect(open(() => true, { timeout: 400, retries: 1 })).rejects.toMatchObject({
      code: "http/stalled",
    });
    const stalling: Fault = (n, _request, response) => {
      if (n === 1) return false;
      response.writeHead(206, { "content-range": `bytes 0-9/${SIZE}`, "content-length": 10 });
      response.write("abc");
      return true;
    };
    const input = await source(stalling, { timeout: 400, retries: 0 });
    await expect(sameAt(input, 500_000, 10)).rejects.toBeInstanceOf(SystemError);
  });

  it("whose file changes meanwhile is refused", async () => {
    const input = await source();
    etag = '"two"';
    await expect(sameAt(input, 500_000, 10)).rejects.toMatchObject({
      code: "http/changed",
      place: { source: expect.stringMatching(/\/save$/) as string },
    });
    const other = await source((n, request, response) => {
      if (n === 1) return false;
      const range = (request.headers.range ?? "").replace("=", " ");
      response.writeHead(206, { "content-range": `${range}/${SIZE + 1}`, etag });
      response.end(new Uint8Array(10));
      return true;
    });
    await expect(sameAt(other, 500_000, 10)).rejects.toMatchObject({ code: "http/changed" });
  });

  it("that refuses is named with its status, and asked once", async () => {
    await expect(open(answer(403))).rejects.toMatchObject({ code: "http/403" });
    await expect(open(answer(404))).rejects.toThrow(/answered 404 Not Found/);
    expect(requests).toBe(1);
    await expect(open(answer(500), { retries: 1 })).rejects.toThrow(/answered 500.*2 attempts/);
  });

  it("that redirects to itself is refused", async () => {
    await expect(open(answer(302, { location: "/save" }))).rejects.toMatchObject({ code: "http/redirect" });
    expect(requests).toBeLessThan(50);
  });

  it("that redirects once is followed, and asked there from then on", async () => {
    const paths: string[] = [];
    const moved: Fault = (n, request, response) => {
      paths.push(request.url ?? "");
      return n === 1 && answer(307, { location: "/elsewhere" })(n, request, response);
    };
    const input = await source(moved);
    expect(await sameAt(input, 800_000, 10)).toBe(true);
    expect(paths).toEqual(["/save?signature=secret", "/elsewhere", "/elsewhere"]);
  });

  it("elsewhere doesn't get what is meant for the first one", async () => {
    const got: (string | undefined)[] = [];
    const other = http.createServer((request, response) => {
      got.push(request.headers.authorization, request.headers["x-token"] as string | undefined);
      sendRange(request, response);
    });
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/there`;
    try {
      // fetch leaves only the password behind
      const token: Record<string, string> = name === "fetch" ? {} : { "x-token": "secret" };
      const input = await source(answer(302, { location }), {
        headers: { authorization: "Bearer x", ...token },
      });
      expect(await sameAt(input, 700_000, 10)).toBe(true);
      expect(got).toEqual([undefined, undefined, undefined, undefined]);
    } finally {
      other.closeAllConnections();
      other.close();
    }
  });

  it("that gives another range, more, or packed contents is refused", async () => {
    /** `RANGE` stands for the range that is asked for. */
    const lie =
      (headers: Record<string, string>, size: number): Fault =>
      (n, request, response) => {
        const asked = (request.headers.range ?? "").replace("=", " ");
        const all = Object.entries(headers).map(([key, value]) => [key, value.replace("RANGE", asked)]);
        if (n > 1)
          response.writeHead(206, Object.fromEntries(all) as typeof headers).end(new Uint8Array(size));
        return n > 1;
      };
    for (const [headers, size] of [
      [{ "content-range": `bytes 0-9/${SIZE}` }, 10],
      [{}, 65_536],
      [{ "content-range": `RANGE/${SIZE}`, etag: '"one"' }, 2_000_000],
      [{ "content-range": `RANGE/${SIZE}`, etag: '"one"', "content-encoding": "br" }, 10],
    ] as const) {
      const input = await source(lie({ ...headers }, size), { retries: 1 });
      await expect(sameAt(input, 500_000, 10)).rejects.toBeInstanceOf(SystemError);
    }
  });

  it("without ranges gives a stream", async () => {
    const { input, statistics } = await open((_n, _request, response) => {
      response.writeHead(200, { "content-length": SIZE }).end(contents);
      return true;
    });
    if (input instanceof HttpSource) throw new Error("a source");
    const whole: Uint8Array[] = [];
    const window = new Uint8Array(100_000);
    for (let n = await input.read(window); n > 0; n = await input.read(window))
      whole.push(window.slice(0, n));
    expect(Buffer.compare(Buffer.concat(whole), contents)).toBe(0);
    expect(statistics.bytes).toBe(SIZE);
  });

  it("without ranges is asked again where it fails, and its failures are errors of ours", async () => {
    const answers = (statuses: readonly number[]): Fault => {
      return (n, _, response) => {
        const status = n === 1 ? 200 : (statuses[n - 2] ?? 200);
        if (status === 0) response.destroy();
        else response.writeHead(status).end("the whole file");
        return true;
      };
    };
    const { input, statistics } = await open(answers([503, 0, 200]));
    if (input instanceof HttpSource) throw new Error("a source");
    const into = new Uint8Array(64);
    expect(Buffer.from(into.subarray(0, await input.read(into))).toString()).toBe("the whole file");
    expect(statistics.retries).toBe(2);
    for (const [statuses, code] of [
      [[500, 500, 500], "http/500"],
      [[404], "http/404"],
      [[204], "http/204"],
      [[0, 0, 0], "http/failed"],
    ] as const) {
      const failed = await open(answers(statuses), { retries: 2 }).catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(SystemError);
      expect(failed).toMatchObject({ code });
    }
  });

  it("gets the password of an address as a header, and no message has it", async () => {
    let got = "";
    const { input } = await (async () => {
      fault = (_n, request) => {
        got = request.headers.authorization ?? "";
        return false;
      };
      return openHttp(address.replace("http://", "http://me:pass%20word@"), how);
    })();
    expect(got).toBe(`Basic ${btoa("me:pass word")}`);
    expect(input.name).not.toMatch(/pass|secret/);
  });

  it("of an empty file gives an empty source", async () => {
    const { input } = await open(answer(416, { "content-range": "bytes */0" }));
    expect(isByteSource(input) && input.size).toBe(0);
  });

  it("that nobody runs is said", async () => {
    await expect(openHttp("http://127.0.0.1:1/x", { ...how, pause: 1 })).rejects.toMatchObject({
      code: expect.stringMatching(/^http\//) as string,
    });
    await expect(openHttp("http://")).rejects.toMatchObject({ code: "http/address" });
  });
});
