import * as http from "node:http";
import type { AnswerBody, Ask, WebAnswer } from "../web/ask.js";

/** Redirects followed: as many as fetch follows. */
const MOST_REDIRECTS = 20;
const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
/** Headers that go to whatever server one is redirected to. */
const FOR_ALL: readonly string[] = ["range", "accept-encoding"];
const CONNECTIONS = 8;

type Get = (
  url: URL,
  headers: Readonly<Record<string, string>>,
  use: (message: http.IncomingMessage) => void,
) => http.ClientRequest;

/** A client of one protocol, whose connections are kept. That of https is loaded when it is used. */
async function clientOf(protocol: string): Promise<Get> {
  const options = { keepAlive: true, maxSockets: CONNECTIONS };
  if (protocol === "http:") {
    const agent = new http.Agent(options);
    return (url, headers, use) => http.get(url, { headers, agent }, use);
  }
  const https = await import("node:https");
  const agent = new https.Agent(options);
  return (url, headers, use) => https.get(url, { headers, agent }, use);
}

/**
 * Asks as `fetch` does, with Node's own client and connections that are kept: a fraction of the time and memory of a
 * request. Other headers than those of the range stay with the address's own server.
 */
export function nodeAsk(): Ask {
  const clients = new Map<string, Promise<Get>>();
  const once = async (
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<http.IncomingMessage> => {
    const client = clients.get(url.protocol) ?? clientOf(url.protocol);
    clients.set(url.protocol, client);
    const get = await client;
    return new Promise((resolve, reject) => {
      const request = get(url, headers, resolve);
      const stop = (): void => {
        request.destroy(new Error("aborted"));
      };
      signal.addEventListener("abort", stop);
      request.on("error", reject);
      request.on("close", () => signal.removeEventListener("abort", stop));
    });
  };
  return async (address, { headers, signal }) => {
    let url = new URL(address);
    const { origin } = url;
    for (let redirects = 0; ; redirects += 1) {
      const own = url.origin === origin ? headers : onlyForAll(headers);
      const message = await once(url, own, signal).catch((error: unknown) => {
        throw failed(error);
      });
      const { location } = message.headers;
      if (location === undefined || !REDIRECTS.includes(message.statusCode ?? 0))
        return answerOf(message, url);
      message.resume();
      if (redirects === MOST_REDIRECTS) throw failed(new Error("redirect count exceeded"));
      url = new URL(location, url);
      if (!/^https?:$/.test(url.protocol)) throw failed(new Error(`redirect to ${url.protocol}`));
    }
  };
}

/** As fetch throws it. */
const failed = (cause: unknown): TypeError => new TypeError("request failed", { cause });

const onlyForAll = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => FOR_ALL.includes(name.toLowerCase())));

function answerOf(message: http.IncomingMessage, url: URL): WebAnswer {
  const { statusCode = 0, statusMessage = "" } = message;
  return {
    status: statusCode,
    statusText: statusMessage,
    headers: {
      get(name) {
        const value = message.headers[name.toLowerCase()];
        return value === undefined ? null : Array.isArray(value) ? value.join(", ") : value;
      },
    },
    url: url.href,
    body: bodyOf(message),
  };
}

function bodyOf(message: http.IncomingMessage): AnswerBody {
  return {
    getReader() {
      const pieces = message[Symbol.asyncIterator]() as AsyncIterator<Uint8Array, undefined>;
      return {
        async read() {
          const { done, value } = await pieces.next();
          return done === true ? { done, value: undefined } : { done: false, value };
        },
      };
    },
  };
}
