import * as fs from "node:fs";
import * as os from "node:os";
import { installSpill, type SpillFile } from "../spill.js";
import { systemError } from "./files.js";
import { openScratchFile } from "./scratch-file.js";

/** Closes a file when the index that it was for is gone. */
const forgotten = new FinalizationRegistry<number>((fd) => fs.closeSync(fd));

/**
 * Opens a scratch file that is unlinked at once.
 * @param directory where; default: the system's for temporary files
 */
export function openSpillFile(directory: string = os.tmpdir()): SpillFile {
  const name = `index file in ${directory}`;
  const attempt = <T>(act: () => T): T => {
    try {
      return act();
    } catch (error) {
      throw systemError(error, name);
    }
  };
  const fd = openScratchFile("index", directory, name);
  const spill: SpillFile = {
    write: (offset, bytes) =>
      attempt(() => {
        for (let done = 0; done < bytes.length; )
          done += fs.writeSync(fd, bytes, done, bytes.length - done, offset + done);
      }),
    read: (offset, into) =>
      attempt(() => {
        for (let done = 0; done < into.length; ) {
          const read = fs.readSync(fd, into, done, into.length - done, offset + done);
          if (read === 0) throw new Error("it is shorter than what was written to it");
          done += read;
        }
      }),
  };
  forgotten.register(spill, fd);
  return spill;
}

/**
 * Has indexes of pages that take too much memory spill to scratch files. Call it once at the start of a program.
 * @param directory where; default: the system's for temporary files
 */
export function installNodeSpill(directory?: string): void {
  installSpill(() => openSpillFile(directory));
}
