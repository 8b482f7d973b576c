import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { systemError } from "../../io/node/files.js";
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

/** Bytes of a named file, by ranges; its ETag changes when the file does. */
function sendBytes(
  { file, source }: Extract<Offer, { kind: "bytes" }>,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): void {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  const tag = stat === undefined ? '"gone"' : `"${stat.size.toString(16)}-${stat.mtimeMs.toString(16)}"`;
  const headers = {
    ...HEADERS,
    "content-type": "application/octet-stream",
    "accept-ranges": "bytes",
    etag: tag,
  };
  const condition = request.headers["if-match"];
  if (stat === undefined || (condition !== undefined && condition !== tag)) {
    response.writeHead(412, headers).end();
    return;
  }
  const range = parseRange(request.headers.range, source.size);
  if (range === "unsatisfiable") {
    response.writeHead(416, { ...headers, "content-range": `bytes */${source.size}` }).end();
    return;
  }
  const { start, end } = range === "whole" ? { start: 0, end: source.size } : range;
  const length = { "content-length": String(end - start) };
  if (range === "whole") response.writeHead(200, { ...headers, ...length });
  else {
    const place = `bytes ${start}-${end - 1}/${source.size}`;
    response.writeHead(206, { ...headers, ...length, "content-range": place });
  }
  if (request.method === "HEAD" || start === end) {
    response.end();
    return;
  }
  const { fd } = source.file;
  fs.createReadStream("", { fd, start, end: end - 1, autoClose: false })
    .on("error", () => response.destroy())
    .pipe(response);
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
