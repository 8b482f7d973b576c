import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { SystemError } from "../../findings/errors.js";
import { type FileSource, openFile } from "./files.js";

/** Errors that mean: look elsewhere. */
const NOT_THERE = new Set(["os/ENOENT", "os/ENOTDIR", "os/EACCES", "os/EISDIR", "os/ESPIPE", "os/ELOOP"]);
/** Seconds without an answer before a server is given up, as debuginfod's own client does. */
const DEFAULT_TIMEOUT = 90;

/** Access to debug files of this machine, and to debuginfod where the environment names servers. */
export interface NodeDebugFiles {
  open(path: string): Promise<FileSource | undefined>;
  fetch?(buildId: string, artifact: "debuginfo" | "executable"): Promise<FileSource | undefined>;
}

/**
 * Opens debug files; asks debuginfod when `DEBUGINFOD_URLS` is set, with the cache its own client uses
 * (`DEBUGINFOD_CACHE_PATH`, else `XDG_CACHE_HOME` or `~/.cache`, `debuginfod_client`) and `DEBUGINFOD_TIMEOUT`.
 */
export function nodeDebugFiles(environment: NodeJS.ProcessEnv = process.env): NodeDebugFiles {
  const urls = (environment["DEBUGINFOD_URLS"] ?? "").split(/\s+/).filter((url) => /^https?:/.test(url));
  if (urls.length === 0) return { open };
  const cache = cacheDirectory(environment);
  const timeout = Number(environment["DEBUGINFOD_TIMEOUT"] ?? DEFAULT_TIMEOUT) || DEFAULT_TIMEOUT;
  return {
    open,
    async fetch(buildId, artifact) {
      const file = path.join(cache, buildId, artifact);
      const cached = await open(file);
      if (cached !== undefined && cached.size > 0) return cached;
      cached?.close();
      for (const url of urls) {
        const address = `${url.replace(/\/+$/, "")}/buildid/${buildId}/${artifact}`;
        if (await download(address, file, timeout)) return open(file);
      }
      return undefined;
    },
  };
}

async function open(file: string): Promise<FileSource | undefined> {
  try {
    return openFile(file);
  } catch (error) {
    if (error instanceof SystemError && NOT_THERE.has(error.code)) return undefined;
    throw error;
  }
}

function cacheDirectory(environment: NodeJS.ProcessEnv): string {
  const own = environment["DEBUGINFOD_CACHE_PATH"];
  if (own !== undefined && own !== "") return own;
  const home = environment["XDG_CACHE_HOME"];
  const base = home === undefined || home === "" ? path.join(os.homedir(), ".cache") : home;
  return path.join(base, "debuginfod_client");
}

/** Downloads into the cache; false when the server has no such file or can't be reached. */
async function download(address: string, file: string, timeout: number): Promise<boolean> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), timeout * 1000);
  const partial = `${file}.${process.pid}.partial`;
  try {
    const response = await fetch(address, { signal: abort.signal, redirect: "follow" });
    clearTimeout(timer);
    if (!response.ok || response.body === null) return false;
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const body = Readable.fromWeb(response.body as ReadableStream<Uint8Array>);
    await pipeline(body, fs.createWriteStream(partial, { mode: 0o400 }));
    fs.renameSync(partial, file);
    return true;
  } catch {
    // a server out of reach is as good as one without the file: the next place is tried
    fs.rmSync(partial, { force: true });
    return false;
  } finally {
    clearTimeout(timer);
  }
}
