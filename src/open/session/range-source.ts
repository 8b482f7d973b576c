import type { ByteSource } from "../../io/byte-source.js";
import { SystemError } from "../../findings/errors.js";

/** The part of `fetch` that is used. */
export type Fetch = (url: string, init: { readonly headers: Record<string, string> }) => Promise<Response>;

/** Size of a representation, from a `Content-Range` of `bytes 0-0/123`. */
function totalOf(response: Response): number | undefined {
  const total = /\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
  return total === undefined ? undefined : Number(total);
}

/**
 * A file on a web server as a source, read by ranges (RFC 9110, 14).
 * @throws SystemError `http/…` where the server can't be reached, refuses, knows no ranges, or the file changes
 */
export async function rangeSource(
  url: string,
  name = url,
  get: Fetch = (u, i) => fetch(u, i),
): Promise<ByteSource> {
  const request = async (first: number, last: number, validator?: string): Promise<Response> => {
    let response: Response;
    const condition = validator === undefined ? {} : { "if-match": validator };
    try {
      response = await get(url, { headers: { range: `bytes=${first}-${last}`, ...condition } });
    } catch (error) {
      throw new SystemError("http/unreachable", `can't be reached: ${(error as Error).message}`, {
        source: name,
      });
    }
    const isEmpty = response.status === 416 && totalOf(response) === 0;
    if (response.status === 206 || isEmpty) return response;
    await response.body?.cancel();
    const message =
      response.status === 200
        ? "the server doesn't answer ranges"
        : response.status === 412
          ? "the file changed while it was open"
          : `the server answered ${response.status}`;
    throw new SystemError(`http/${response.status}`, message, { source: name });
  };
  const head = await request(0, 0);
  const size = totalOf(head);
  await head.arrayBuffer();
  const tag = head.headers.get("etag");
  const validator = tag === null || tag.startsWith("W/") ? undefined : tag;
  if (size === undefined) {
    throw new SystemError("http/size", "the server doesn't tell the file's size", { source: name });
  }
  return {
    name,
    size,
    async read(offset, into) {
      const length = Math.min(into.length, size - offset);
      if (length <= 0) return 0;
      const response = await request(offset, offset + length - 1, validator);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length > length) {
        throw new SystemError("http/length", `the server sent ${bytes.length} bytes for ${length}`, {
          source: name,
        });
      }
      into.set(bytes);
      return bytes.length;
    },
  };
}
