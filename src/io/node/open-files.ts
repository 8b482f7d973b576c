import * as fs from "node:fs";
import { UsageError } from "../../findings/errors.js";

/** Files that are being read, by device and inode, with the number of their readers. */
const readers = new Map<string, number>();

function keyOf(stat: fs.Stats): string | undefined {
  return stat.isFile() || stat.isBlockDevice() ? `${stat.dev}:${stat.ino}` : undefined;
}

function inputKey(fd: number): string | undefined {
  try {
    return keyOf(fs.fstatSync(fd));
  } catch {
    // not open: reading it says so
    return undefined;
  }
}

/** Notes that an open descriptor is an input. The function returned takes that back. */
export function noteInput(fd: number): () => void {
  const key = inputKey(fd);
  if (key === undefined) return () => undefined;
  readers.set(key, (readers.get(key) ?? 0) + 1);
  let noted = true;
  return () => {
    if (!noted) return;
    noted = false;
    const left = (readers.get(key) ?? 1) - 1;
    if (left === 0) readers.delete(key);
    else readers.set(key, left);
  };
}

/** Refuses an output that is one of the inputs, whatever its name. @throws UsageError */
export function refuseInput(stat: fs.Stats, name: string): void {
  const key = keyOf(stat);
  if (key !== undefined && readers.has(key))
    throw new UsageError("is an input as well: it would be overwritten", { source: name });
}
