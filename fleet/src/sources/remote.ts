import * as fs from "node:fs";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { SystemError } from "guestscope";
import { publicUrl, type UrlInput } from "./source.js";

const ANSWER_MS = 30_000;

/**
 * An object in its present state, by a request for its first byte: a URL signed for GET is not good for HEAD.
 * @throws SystemError `http/…`
 */
export async function urlSource(url: string): Promise<UrlInput> {
  const response = await request(url, { range: "bytes=0-0" });
  await response.body?.cancel();
  const { headers, status } = response;
  // an empty object has no first byte: 416 with its size
  if (status !== 416 && !response.ok) throw refused(url, response);
  const total =
    status === 200 ? headers.get("content-length") : /\/(\d+)$/.exec(headers.get("content-range") ?? "")?.[1];
  const size = total === null || total === undefined ? Number.NaN : Number(total);
  const [etag, modified] = [headers.get("etag"), headers.get("last-modified")];
  return {
    kind: "url",
    url,
    ...(Number.isSafeInteger(size) ? { size } : {}),
    ...(etag === null ? {} : { etag }),
    ...(modified === null ? {} : { modified }),
  };
}

/**
 * Copies an object into a new file.
 * @throws SystemError `http/…` when the server fails, `fleet/source-changed` when it is another object by now, `os/…`
 */
export async function download(source: UrlInput, file: string, signal: AbortSignal): Promise<void> {
  const { url, size, etag } = source;
  const name = publicUrl(url);
  const response = await request(url, {}, signal);
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw refused(url, response);
  }
  if (etag !== undefined && response.headers.get("etag") !== etag) {
    await response.body.cancel();
    throw new SystemError("fleet/source-changed", "has changed since it was submitted", { source: name });
  }
  let done = 0;
  const counted = new Transform({
    transform(chunk: Uint8Array, _encoding, next) {
      done += chunk.length;
      // what sends for ever must not fill the disk
      const excess = size !== undefined && done > size;
      next(excess ? new Error(`sent more than the ${size} bytes it announced`) : null, chunk);
    },
  });
  try {
    await pipeline(
      Readable.fromWeb(response.body as never),
      counted,
      fs.createWriteStream(file, { flags: "wx", mode: 0o600 }),
      {
        signal,
      },
    );
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (signal.aborted) throw error;
    throw new SystemError(code === "ENOSPC" ? "os/ENOSPC" : "http/broken", message, {
      source: code === "ENOSPC" ? file : name,
    });
  }
  if (size !== undefined && done !== size)
    throw new SystemError("http/broken", `sent ${done} of ${size} bytes`, { source: name });
}

async function request(
  url: string,
  headers: Record<string, string>,
  signal?: AbortSignal,
): Promise<Response> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), ANSWER_MS);
  try {
    return await fetch(url, {
      headers: { ...headers, "accept-encoding": "identity" },
      signal: signal === undefined ? late.signal : AbortSignal.any([late.signal, signal]),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    const cause = (error as Error).cause as Error | undefined;
    const why = late.signal.aborted
      ? `no answer within ${ANSWER_MS / 1000} s`
      : (cause?.message ?? String(error));
    throw new SystemError("http/unreachable", `can't be reached: ${why}`, { source: publicUrl(url) });
  } finally {
    clearTimeout(timer);
  }
}

function refused(url: string, response: Response): SystemError {
  return new SystemError(
    `http/${response.status}`,
    `the server answers ${response.status} ${response.statusText}`.trim(),
    {
      source: publicUrl(url),
    },
  );
}
