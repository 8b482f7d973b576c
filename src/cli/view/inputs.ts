import * as fs from "node:fs";
import type { Namespace } from "argparse";
import { HEAD_SIZE } from "../../guest/options.js";
import { readFully } from "../../io/byte-source.js";
import { detectCompression } from "../../io/codecs/compressions.js";
import { FileSource, openInput } from "../../io/node/files.js";
import { parsePid } from "../../io/node/process-memory.js";
import { findFormat } from "../../open/detect.js";
import type { SessionInput } from "../../open/session/input.js";
import { Session } from "../../open/session/session.js";
import { openSession } from "../guest-input.js";

/** An input as the server offers it: its bytes for the page to read, or answers about it. */
export type Offer =
  | { readonly kind: "bytes"; readonly name: string; readonly file: string }
  | { readonly kind: "calls"; readonly name: string; readonly session: Session; close(): Promise<void> };

/** Formats that need nothing but the file itself. All others are read here, where debug files, parts and spools are. */
const SELF_CONTAINED: ReadonlySet<string> = new Set([
  "xen-stream",
  "xen-legacy",
  "elf-vmcore",
  "lime",
  "xen-core",
  "qemu-migration",
]);

/** Whether the page can read it alone. */
async function isPlainFile(name: string): Promise<boolean> {
  if (name === "-" || (parsePid(name) !== undefined && !fs.existsSync(name))) return false;
  const source = openInput(name);
  if (!(source instanceof FileSource)) return false;
  try {
    const head = new Uint8Array(HEAD_SIZE);
    const start = head.subarray(0, await readFully(source, 0, head));
    const format = detectCompression(start) === undefined ? await findFormat(start) : undefined;
    return format !== undefined && SELF_CONTAINED.has(format.id);
  } finally {
    source.close();
  }
}

/**
 * Opens an input of the command line. @param inProcess read it here whatever it is: options say how
 * @throws SystemError when it can't be opened
 */
export async function offer(name: string, args: Namespace, inProcess: boolean): Promise<Offer> {
  if (!inProcess && (await isPlainFile(name))) return { kind: "bytes", name, file: name };
  let opened: Promise<SessionInput> | undefined;
  const session = new Session(() => (opened ??= openSession(name, args)));
  const nothing = { progress: () => undefined, piece: async () => undefined };
  return { kind: "calls", name, session, close: () => session.call("close", undefined, nothing) };
}
