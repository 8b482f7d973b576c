import { timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

/** Who may ask this server, and for what. */
export interface Access {
  /** Part of every address: whoever doesn't have it gets nothing. */
  readonly token: string;
  readonly port: number;
}

/** Why a request is refused, or the path after the token. */
export type Decision = { readonly refused: string } | { readonly path: string };

/**
 * Decides on a request. The token keeps out other users and programs of this machine; Host keeps out pages whose name
 * was made to point here (DNS rebinding); Origin and Sec-Fetch-Site keep out pages of other sites.
 */
export function decide(
  { token, port }: Access,
  headers: IncomingHttpHeaders,
  url: string | undefined,
): Decision {
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
  if (headers.host === undefined || !hosts.includes(headers.host)) return { refused: "host" };
  const { origin } = headers;
  if (origin !== undefined && !hosts.some((host) => origin === `http://${host}`))
    return { refused: "origin" };
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") return { refused: "site" };
  const [path = ""] = (url ?? "").split(/[?#]/, 1);
  const [, given = "", ...rest] = path.split("/");
  if (!isSame(given, token) || rest.length === 0) return { refused: "token" };
  return { path: rest.join("/") };
}

function isSame(given: string, token: string): boolean {
  const a = Buffer.from(given);
  const b = Buffer.from(token);
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Bytes [start, end) of a file of `size` bytes that a Range header asks for (RFC 9110, 14.2). */
export function parseRange(
  header: string | undefined,
  size: number,
): { readonly start: number; readonly end: number } | "whole" | "unsatisfiable" {
  if (header === undefined) return "whole";
  const match = /^bytes=(\d{0,16})-(\d{0,16})$/.exec(header);
  // several ranges, another unit: a server may answer with all of it
  if (match === null) return "whole";
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return "whole";
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(size, Number(last) + 1);
  return start >= end ? "unsatisfiable" : { start, end };
}
