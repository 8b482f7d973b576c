import * as fs from "node:fs";
import type { ArgumentParser } from "argparse";
import { UsageError } from "../findings/errors.js";
import { isVmcoreInfo } from "../guest/kernel/vmcoreinfo-text.js";
import type { VmcoreInfoChoice } from "../guest/options.js";
import { systemError } from "../io/node/files.js";

/** Bytes of a file that are read: no kernel's VMCOREINFO is longer. */
const LONGEST = 64 << 10;

/** The option of every command that opens a guest. */
export function addVmcoreInfoOption(parser: ArgumentParser): void {
  parser.add_argument("--vmcoreinfo", {
    metavar: "search|none|FILE",
    help: "the kernel's VMCOREINFO: as memory holds it, none, or the text in FILE (default: the input's own if it fits the kernel in memory, else memory's)",
  });
}

/** What `--vmcoreinfo` says. @throws UsageError for a file that holds no VMCOREINFO, SystemError when it can't be read */
export function vmcoreInfoChoice(given: string | undefined): VmcoreInfoChoice | undefined {
  if (given === undefined || given === "search" || given === "none") return given;
  const text = readText(given);
  if (isVmcoreInfo(text)) return { text };
  throw new UsageError("--vmcoreinfo: no VMCOREINFO, which is lines KEY=VALUE from OSRELEASE= on", {
    source: given,
  });
}

function readText(path: string): string {
  const bytes = Buffer.alloc(LONGEST);
  try {
    const file = fs.openSync(path, "r");
    try {
      return bytes.toString("latin1", 0, fs.readSync(file, bytes, 0, LONGEST, null)).replaceAll("\r\n", "\n");
    } finally {
      fs.closeSync(file);
    }
  } catch (error) {
    throw systemError(error, path);
  }
}
