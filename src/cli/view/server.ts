import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { SystemError } from "../../findings/errors.js";
import { FileSource, openInput, systemError } from "../../io/node/files.js";
import type { Call, Reply } from "../../open/session/protocol.js";
import { answer } from "../../open/session/serve.js";
import { decodeWire, encodeWire } from "../../open/session/wire.js";
import { type Access, decide, parseRange } from "./access.js";
import type { Asset } from "./files.js";
import type { Offer } from "./inputs.js";

/** What the page may do: read itself and this server, nothing else of the world. */
const POLICY = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  // a codec loads its WebAssembly from a data: address; that is no request
  "connect-src 'self' data:",
  "img-src 'self' data: blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HEADERS = {
  "content-security-policy": POLICY,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
} as const;

/** A call's argument is a pattern or some thousand addresses. */
const LARGEST_CALL = 4 << 20;
const TOKEN_BYTES = 24;
/** Bytes read and sent at a time. */
const PIECE = 256 << 10;

export interface ViewServer {
  /** With the token. */
  readonly url: string;
  close(): Promise<void>;
}

interface Site {
  readonly assets: ReadonlyMap<string, Asset>;
  readonly offers: readonly Offer[];
}

/**
 * Serves the viewer and its inputs on 127.0.0.1.
 * @param port 0: any that is free
 * @throws SystemError when the port is taken
 */
export async function startServer(site: Site, port: number): Promise<ViewServer> {
  const token = randomBytes(TOKEN_BYTES).toString("base64url");
  let access: Access = { token, port };
  const server = http.createServer((request, response) => {
    respond(site, access, request, response).catch((error: unknown) => {
      // the page went away, or a file did
      response.destroy(error instanceof Error ? error : undefined);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(systemError(error, `port ${port}`)));
    server.listen(port, "127.0.0.1", resolve);
  });
  access = { token, port: (server.address() as AddressInfo).port };
  return {
    url: `http://127.0.0.1:${access.port}/${token}/`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

async function respond(
  { assets, offers }: Site,
  access: Access,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const refuse = (status: number, text: string): void => {
    response.writeHead(status, { ...HEADERS, "content-type": "text/plain" }).end(`${text}\n`);
  };
  const decision = decide(access, request.headers, request.url);
  if ("refused" in decision) return refuse(403, "refused: use the address that guestscope view printed");
  const { path } = decision;
  const isRead = request.method === "GET" || request.method === "HEAD";
  const [, kind, index = ""] = /^(input|call)\/(\d{1,4})$/.exec(path) ?? [];
  const offered = kind === undefined ? undefined : offers[Number(index)];
  if (kind === "input" && offered?.kind === "bytes" && isRead) return sendBytes(offered, request, response);
  if (kind === "call" && offered?.kind === "calls" && request.method === "POST") {
    if (request.headers["content-type"] !== "application/json") return refuse(415, "not JSON");
    return sendAnswers(offered, request, response);
  }
  const asset = assets.get(path === "" ? "index.html" : path);
  if (asset === undefined || !isRead) return refuse(404, "nothing here");
  const bytes = await asset.read();
  const isPage = path === "" || path === "index.html";
  const body = isPage ? withInputs(new TextDecoder().decode(bytes), offers) : bytes;
  response.writeHead(200, { ...HEADERS, "content-type": asset.type });
  response.end(request.method === "HEAD" ? undefined : body);
}

const escapeHtml = (text: string): string =>
  text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** The page with the inputs' names and addresses in it. */
function withInputs(page: string, offers: readonly Offer[]): string {
  const inputs = offers.map(({ kind, name }, i) =>
    kind === "bytes" ? { name, bytes: `input/${i}` } : { name, calls: `call/${i}` },
  );
  const meta = `<meta name="guestscope-inputs" content="${escapeHtml(JSON.stringify(inputs))}" />`;
  return page.replace("</head>", () => `${meta}</head>`);
}

/** The file that is at a path now, which may be another than a moment ago; undefined when there is none to read. */
function presentFile(file: string): FileSource | undefined {
  try {
    const source = openInput(file);
    return source instanceof FileSource ? source : undefined;
  } catch {
    return undefined;
  }
}

/** What distinguishes a file from what was at its path before: another file, size or time of change. */
function tagOf({ file: { fd }, size }: FileSource): string {
  const { dev, ino, mtimeMs } = fs.fstatSync(fd);
  return `"${[dev, ino, size, mtimeMs].map((value) => value.toString(16)).join("-")}"`;
}

/** The bytes [start, end). @throws SystemError when the file ends before */
async function* piecesOf(source: FileSource, start: number, end: number): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; ) {
    const piece = new Uint8Array(Math.min(PIECE, end - at));
    const n = await source.read(at, piece);
    if (n === 0)
      throw new SystemError("os/cut", "the file became shorter", { source: source.name, offset: at });
    yield piece.subarray(0, n);
    at += n;
  }
}

/** Bytes of a named file, by ranges; its ETag changes when the file does. It is opened anew each time: only its path is held. */
async function sendBytes(
  { file }: Extract<Offer, { kind: "bytes" }>,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const source = presentFile(file);
  if (source === undefined) {
    response.writeHead(404, HEADERS).end();
    return;
  }
  try {
    const { size } = source;
    const headers = {
      ...HEADERS,
      "content-type": "application/octet-stream",
      "accept-ranges": "bytes",
      etag: tagOf(source),
    };
    const condition = request.headers["if-match"];
    if (condition !== undefined && condition !== headers.etag) {
      response.writeHead(412, headers).end();
      return;
    }
    const range = parseRange(request.headers.range, size);
    if (range === "unsatisfiable") {
      response.writeHead(416, { ...headers, "content-range": `bytes */${size}` }).end();
      return;
    }
    const { start, end } = range === "whole" ? { start: 0, end: size } : range;
    const length = { "content-length": String(end - start) };
    if (range === "whole") response.writeHead(200, { ...headers, ...length });
    else {
      const place = `bytes ${start}-${end - 1}/${size}`;
      response.writeHead(206, { ...headers, ...length, "content-range": place });
    }
    if (request.method === "HEAD" || start === end) response.end();
    else await pipeline(piecesOf(source, start, end), response);
  } finally {
    source.close();
  }
}

async function readBody(request: http.IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > LARGEST_CALL) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function parseCall(text: string): Call | undefined {
  try {
    const call = decodeWire(text) as Partial<Call> | null;
    return typeof call?.id === "number" && typeof call.method === "string" ? (call as Call) : undefined;
  } catch {
    return undefined;
  }
}

/** Answers a call with lines of JSON: progress, pieces, a result or an error. */
async function sendAnswers(
  { session }: Extract<Offer, { kind: "calls" }>,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const body = await readBody(request);
  const call = body === undefined ? undefined : parseCall(body);
  // closing is the server's own affair
  if (call === undefined || call.method === "close") {
    response.writeHead(400, HEADERS).end();
    return;
  }
  response.writeHead(200, { ...HEADERS, "content-type": "application/x-ndjson" });
  await answer(session, call, async (reply: Reply) => {
    if (response.destroyed) return;
    if (!response.write(`${encodeWire(reply)}\n`)) {
      await new Promise<void>((resolve) => {
        response.once("drain", resolve);
        response.once("close", resolve);
      });
    }
  });
  response.end();
}
