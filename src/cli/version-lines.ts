import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { embeddedText } from "../io/node/embedded.js";
import { VERSION } from "../version.js";

/** Where a build notes the commit it was made from, beside the programs. */
const COMMIT_FILE = "COMMIT";

function commit(): string {
  const embedded = embeddedText(COMMIT_FILE)?.trim();
  if (embedded !== undefined) return embedded === "" ? "not known" : embedded;
  try {
    return fs.readFileSync(path.join(import.meta.dirname, COMMIT_FILE), "utf8").trim();
  } catch {
    return "not known";
  }
}

/** What `--version` prints; with `verbose` the parts that behaviour depends on as well. */
export function versionLines(verbose: boolean): string[] {
  const first = `guestscope ${VERSION}`;
  if (!verbose) return [first];
  const native = "zstdDecompressSync" in zlib;
  return [
    first,
    `commit   ${commit()}`,
    `node     ${process.versions.node} (${process.platform} ${process.arch})`,
    `codecs   zlib ${process.versions.zlib}, zstd ${native ? `${process.versions["zstd"] ?? ""} of Node`.trim() : "in WebAssembly"}, xz in WebAssembly, lzo, snappy, lz4 and bzip2 in JavaScript`,
  ];
}
