import type { BigIntStats } from "node:fs";
import * as fs from "node:fs/promises";
import * as path from "node:path";
import { SystemError } from "guestscope";
import { systemError } from "guestscope/node";
import type { FileInput } from "./source.js";

/**
 * A file in its present state.
 * @throws SystemError `os/ENOENT` …, `fleet/source-is-directory`, `fleet/source-not-regular`
 */
export async function fileSource(name: string): Promise<FileInput> {
  const full = path.resolve(name);
  let stat: BigIntStats;
  try {
    stat = await fs.stat(full, { bigint: true });
  } catch (error) {
    throw systemError(error, full);
  }
  if (stat.isDirectory())
    throw new SystemError("fleet/source-is-directory", "is a directory, not a saved guest", { source: full });
  // reading a pipe or a terminal would wait for ever
  if (!stat.isFile() && !stat.isBlockDevice())
    throw new SystemError("fleet/source-not-regular", "is neither a file nor a block device", {
      source: full,
    });
  return { kind: "file", path: full, size: Number(stat.size), mtime: String(stat.mtimeNs) };
}

/** Whether a file is in the state in which it was submitted. */
export function isUnchanged(then: FileInput, now: FileInput): boolean {
  return then.size === now.size && then.mtime === now.mtime;
}

/** Paths of the files below a directory; links are not followed, names with a leading dot are left out. */
export async function* filesBelow(directory: string): AsyncGenerator<string> {
  const waiting = [path.resolve(directory)];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    let entries;
    try {
      entries = await fs.readdir(next, { withFileTypes: true });
    } catch (error) {
      throw systemError(error, next);
    }
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      if (entry.name.startsWith(".")) continue;
      const full = path.join(next, entry.name);
      if (entry.isFile()) yield full;
    }
    for (const entry of entries.toReversed()) {
      if (entry.isDirectory() && !entry.name.startsWith(".")) waiting.push(path.join(next, entry.name));
    }
  }
}
