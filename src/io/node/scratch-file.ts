import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { systemError } from "./files.js";

/** Scratch files hold a guest's memory, or say where it is. */
const PRIVATE = 0o600;

/**
 * Opens a scratch file that is unlinked at once: it is gone with the process, whatever happens.
 * @param use what for: a part of its name while it has one
 * @param directory where; default: the system's for temporary files
 * @param source what an error names; default: the directory
 * @returns its descriptor
 * @throws SystemError
 */
export function openScratchFile(use: string, directory: string = os.tmpdir(), source = directory): number {
  const random = Math.random().toString(36).slice(2, 10);
  const file = path.join(directory, `guestscope-${use}-${process.pid}-${random}`);
  try {
    const fd = fs.openSync(file, "wx+", PRIVATE);
    fs.unlinkSync(file);
    return fd;
  } catch (error) {
    throw systemError(error, source);
  }
}
