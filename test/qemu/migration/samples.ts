import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { gunzipText, hasProgram, hasShared, sharedData, skipUnless, unzstd } from "../../shared.js";

const samples = path.join(sharedData, "qemu-migration");
export const saves = path.join(sharedData, "libvirt-save");

export const noSamples = skipUnless(
  hasShared && hasProgram("zstd"),
  "shared data of saved QEMU guests, or zstd",
);

export const sampleFile = (name: string, file: string): string => path.join(samples, name, file);

/** The stream of a sample, unpacked into `folder`. */
export function unpackSample(name: string, folder: string): string {
  return unzstd(sampleFile(name, "stream.qevm.zst"), folder, { name: `${name}.qevm` });
}

/** CRC of every page as the stream leaves it: block → page → CRC, undefined where the stream has none. */
export function groundTruth(name: string): Map<string, (number | undefined)[]> {
  const blocks = new Map<string, (number | undefined)[]>();
  for (const line of gunzipText(sampleFile(name, "pages.gz")).trim().split("\n")) {
    const [, block = "", page = "", crc = ""] = /^(.*) ([0-9a-f]+) ([0-9a-f]+|-)$/.exec(line) ?? [];
    const pages = blocks.get(block) ?? [];
    pages[Number.parseInt(page, 16)] = crc === "-" ? undefined : Number.parseInt(crc, 16);
    blocks.set(block, pages);
  }
  return blocks;
}

export interface MapEntry {
  readonly gpa: number;
  readonly size: number;
  readonly block: string;
  readonly offset: number;
  readonly kind: string;
}

/** The machine's memory map, as QEMU printed it. */
export function gpaMap(name: string): MapEntry[] {
  const meta = JSON.parse(fs.readFileSync(sampleFile(name, "meta.json"), "utf8")) as {
    gpa_map: Record<string, string>[];
  };
  return meta.gpa_map.map((entry) => ({
    gpa: Number(entry["gpa"]),
    size: Number(entry["size"]),
    block: entry["block"] ?? "",
    offset: Number(entry["offset"]),
    kind: entry["kind"] ?? "",
  }));
}

export const crc32 = (bytes: Uint8Array): number => zlib.crc32(bytes);

/** `info registers`: one map of printed values a processor. */
export function printedRegisters(file: string): Map<string, string>[] {
  return fs
    .readFileSync(file, "utf8")
    .split(/^CPU#\d+/m)
    .slice(1)
    .map((text) => {
      const values = new Map<string, string>();
      for (const [, name = "", value = ""] of text.matchAll(
        /\b([A-Z][A-Z0-9]+) *= *([0-9a-f]+(?: [0-9a-f]{8,16})*)/g,
      ))
        values.set(name, value);
      return values;
    });
}
