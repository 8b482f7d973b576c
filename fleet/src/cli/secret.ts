import * as fs from "node:fs";
import { systemError } from "guestscope/node";

/** The first line of a file. @throws SystemError */
export function readSecret(file: string): string {
  try {
    return fs.readFileSync(file, "utf8").split(/\r?\n/, 1)[0] ?? "";
  } catch (error) {
    throw systemError(error, file);
  }
}
