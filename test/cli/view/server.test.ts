import * as fs from "node:fs";
import * as http from "node:http";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { offer, type Offer } from "../../../src/cli/view/inputs.js";
import { startServer, type ViewServer } from "../../../src/cli/view/server.js";
import { HttpSource, openHttp } from "../../../src/io/web/http.js";
import { decodeWire, encodeWire } from "../../../src/open/session/wire.js";
import { fixtures, scratch } from "../../shared.js";

const { folder, cleanup } = scratch();
const sample = path.join(folder, "web01.legacy");
const packed = path.join(fixtures, "demo/web01.legacy.gz");
const page = path.join(folder, "index.html");
const args = { exclude_nonvolatile: false, stop: false };
let server: ViewServer;
let offers: readonly Offer[];

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A request as any program can make it, whatever a browser would allow. */
function request(url: string, options: http.RequestOptions = {}, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = http.request(url, options, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

/** The first input as the page reads it. */
async function openSource(): Promise<HttpSource> {
  const { input } = await openHttp(`${server.url}input/0`);
  if (input instanceof HttpSource) return input;
  throw new Error("the server gives no ranges");
}

beforeAll(async () => {
  fs.writeFileSync(sample, gunzipSync(fs.readFileSync(packed)));
  fs.writeFileSync(page, "<html><head></head></html>");
  offers = [await offer(sample, args, false), await offer(packed, args, false)];
  const assets = new Map([["index.html", { read: () => fs.promises.readFile(page), type: "text/html" }]]);
  server = await startServer({ assets, offers }, 0);
});
afterAll(async () => {
  await server.close();
  for (const one of offers) {
    if (one.kind === "calls") await one.close();
  }
  cleanup();
});

describe("the server of guestscope view", () => {
  it("offers a plain file's bytes and answers about a packed one", () => {
    expect(offers.map(({ kind }) => kind)).toEqual(["bytes", "calls"]);
  });

  it("serves the page with the inputs' names in it and a policy that lets nothing out", async () => {
    const { status, headers, body } = await request(server.url);
    expect(status).toBe(200);
    expect(body.toString()).toContain("web01.legacy");
    expect(headers["content-security-policy"]).toContain("default-src 'self'");
    expect(headers["content-security-policy"]).toContain("frame-ancestors 'none'");
    expect(headers["referrer-policy"]).toBe("no-referrer");
  });

  it("refuses another Host, another Origin and a missing token", async () => {
    const { port } = new URL(server.url);
    const answers = await Promise.all([
      request(server.url, { headers: { host: `evil.example:${port}` } }),
      request(server.url, { headers: { origin: "https://evil.example" } }),
      request(`http://127.0.0.1:${port}/`),
      request(`http://127.0.0.1:${port}/input/0`),
      request(`http://127.0.0.1:${port}/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/input/0`),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([403, 403, 403, 403, 403]);
  });

  it("names no file but the inputs and its own", async () => {
    const { pathname, port } = new URL(server.url);
    const paths = [
      "input/2",
      "input/1",
      "input/../index.html",
      "../../../../etc/passwd",
      "%2e%2e/etc/passwd",
      sample,
    ];
    for (const name of paths) {
      const { status, body } = await request(`http://127.0.0.1:${port}`, { path: `${pathname}${name}` });
      expect([name, status]).toEqual([name, 404]);
      expect(body.toString()).not.toContain("root:");
    }
  });

  it("is not reachable from other machines", () => {
    expect(new URL(server.url).hostname).toBe("127.0.0.1");
  });

  it("answers ranges with the file's bytes", async () => {
    const source = await openSource();
    const whole = fs.readFileSync(sample);
    expect(source.size).toBe(whole.length);
    const into = new Uint8Array(5000);
    expect(await source.read(1234, into)).toBe(5000);
    expect(Buffer.compare(into, whole.subarray(1234, 6234))).toBe(0);
    expect(await source.read(whole.length - 10, into)).toBe(10);
    expect(await source.read(whole.length, into)).toBe(0);
    const beyond = await request(`${server.url}input/0`, { headers: { range: `bytes=${whole.length}-` } });
    expect(beyond.status).toBe(416);
  });

  it("tells a reader that the file changed", async () => {
    const source = await openSource();
    const { atimeMs, mtimeMs } = fs.statSync(sample);
    fs.utimesSync(sample, atimeMs / 1000, mtimeMs / 1000 + 10);
    const far = source.size - 10;
    await expect(source.read(far, new Uint8Array(10))).rejects.toMatchObject({ code: "http/changed" });
  });

  it("serves the file that is at the path now, and none when there is none", async () => {
    const source = await openSource();
    await expect(source.check()).resolves.toBeUndefined();
    const whole = fs.readFileSync(sample);
    fs.rmSync(sample);
    await expect(source.check()).rejects.toMatchObject({ code: "http/404" });
    await expect(source.read(source.size - 10, new Uint8Array(10))).rejects.toMatchObject({
      code: "http/404",
    });
    fs.writeFileSync(sample, whole.subarray(0, whole.length - 5));
    await expect(source.check()).rejects.toMatchObject({ code: "http/changed" });
    const again = await openSource();
    expect(again.size).toBe(whole.length - 5);
    const into = new Uint8Array(20);
    expect(await again.read(again.size - 10, into)).toBe(10);
    expect(Buffer.compare(into.subarray(0, 10), whole.subarray(-15, -5))).toBe(0);
    fs.truncateSync(sample, 0);
    await expect(again.check()).rejects.toMatchObject({ code: "http/changed" });
    fs.writeFileSync(sample, whole);
  });

  it("ends an answer where the file became shorter meanwhile, for the reader to ask again", async () => {
    const large = path.join(folder, "large.legacy");
    fs.copyFileSync(sample, large);
    fs.truncateSync(large, 256 << 20);
    const own = await startServer({ assets: new Map(), offers: [await offer(large, args, false)] }, 0);
    try {
      const { input } = await openHttp(`${own.url}input/0`);
      if (!(input instanceof HttpSource)) throw new Error("the server gives no ranges");
      const reading = input.read(0, new Uint8Array(200 << 20));
      setTimeout(() => fs.truncateSync(large, 1 << 20), 1);
      await expect(reading).rejects.toMatchObject({
        code: expect.stringMatching(/^http\/(changed|range|416)$/),
      });
    } finally {
      await own.close();
    }
  });

  it("answers calls with lines, and refuses what is none", async () => {
    const call = (body: string, type = "application/json"): Promise<Answer> =>
      request(`${server.url}call/1`, { method: "POST", headers: { "content-type": type } }, body);
    const { status, body } = await call(encodeWire({ id: 7, method: "open", argument: undefined }));
    expect(status).toBe(200);
    const lines = body.toString().trim().split("\n");
    expect(decodeWire(lines.at(-1) ?? "")).toMatchObject({
      id: 7,
      kind: "result",
      result: { format: "xen-legacy", compression: "gzip" },
    });
    expect((await call("{}", "text/plain")).status).toBe(415);
    expect((await call("no json")).status).toBe(400);
    expect((await call(encodeWire({ id: 1, method: "close" }))).status).toBe(400);
    const unknown = await call(encodeWire({ id: 1, method: "constructor" }));
    expect(decodeWire(unknown.body.toString().trim())).toMatchObject({ kind: "error" });
    expect((await call("x".repeat(5 << 20))).status).toBe(400);
  });
});
