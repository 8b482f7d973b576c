import * as sea from "node:sea";

/** Contents of a file that a single executable carries; undefined where the programs run from files. */
export function embeddedFile(name: string): Uint8Array | undefined {
  return sea.isSea() ? new Uint8Array(sea.getAsset(name)) : undefined;
}

/** The same as text, UTF-8. */
export function embeddedText(name: string): string | undefined {
  return sea.isSea() ? sea.getAsset(name, "utf8") : undefined;
}
