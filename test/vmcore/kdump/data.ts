import * as path from "node:path";
import { crc32 } from "../../../src/io/codecs/checksums.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { gunzipText, sharedData, unzstd } from "../../shared.js";

export const kdumpFolder = path.join(sharedData, "kdump");

/** Files of shared data/kdump, with what a delta is taken against. */
export const KDUMP_FILES: Readonly<Record<string, string | undefined>> = {
  "tiny-split.zlib.flat": undefined,
  "tiny-split.lzo.flat": undefined,
  "tiny-split.snappy.flat": undefined,
  "tiny-split.zlib.kdump": "tiny-split.zlib.flat",
  "tiny-split.lzo.kdump": "tiny-split.lzo.flat",
  "tiny-split.snappy.kdump": "tiny-split.snappy.flat",
  "tiny-split10.zlib.flat": undefined,
  "tiny-split10.zlib.kdump": "tiny-split10.zlib.flat",
  "linux.zlib-d31.kdump": undefined,
  "linux.zlib-d31.flat": "linux.zlib-d31.kdump",
  "linux.zlib-d31.split1.kdump": "linux.zlib-d31.kdump",
  "linux.zlib-d31.split2.kdump": "linux.zlib-d31.kdump",
  "linux.zlib-d31.split3.kdump": "linux.zlib-d31.kdump",
  "linux.zlib-d31.incomplete.kdump": "linux.zlib-d31.kdump",
};

/** Unpacks one file of data/kdump into `folder`; returns its path. */
export function unpackKdump(name: string, folder: string): string {
  const base = KDUMP_FILES[name];
  if (base === undefined) return unzstd(path.join(kdumpFolder, `${name}.zst`), folder);
  const patchFrom = unpackKdump(base, folder);
  return unzstd(path.join(kdumpFolder, `${name}.patch.zst`), folder, { patchFrom });
}

/** The ground truth of one file: pfn → checksum, `-` (not in this file) or `!` (lost). */
export function truthOf(name: string): Map<number, string> {
  const lines = gunzipText(path.join(kdumpFolder, `${name}.pages.gz`))
    .trim()
    .split("\n");
  return new Map(
    lines.map((line) => {
      const [pfn = "", what = ""] = line.split(" ");
      return [Number.parseInt(pfn, 16), what];
    }),
  );
}

/** What the model holds, in the form of the ground truth; reasons of absent pages apart. */
export async function pagesOf(
  guest: GuestImage,
): Promise<{ pages: Map<number, string>; reasons: Map<string, number> }> {
  const size = guest.facts.pageSize ?? 4096;
  const pages = new Map<number, string>();
  const reasons = new Map<string, number>();
  for (const range of guest.memory.ranges()) {
    if (range.presence !== "absent") continue;
    const count = (range.end - range.start) / size;
    const text = range.reason?.text ?? "";
    reasons.set(text, (reasons.get(text) ?? 0) + count);
    const mark = text.startsWith("lost") ? "!" : "-";
    for (let gpa = range.start; gpa < range.end; gpa += size) pages.set(gpa / size, mark);
  }
  const zeros = new Uint8Array(size);
  for await (const { gpa, length, bytes } of guest.memory.pieces()) {
    for (let at = 0; at < length; at += size) {
      const page = bytes?.subarray(at, at + size) ?? zeros;
      pages.set((gpa + at) / size, crc32(page).toString(16));
    }
  }
  return { pages, reasons };
}

/** Lines in which two page lists differ, `pfn ours theirs`. */
export function differences(ours: ReadonlyMap<number, string>, truth: ReadonlyMap<number, string>): string[] {
  const same = (a: string | undefined, b: string | undefined): boolean =>
    a === b || (a !== undefined && b !== undefined && Number.parseInt(a, 16) === Number.parseInt(b, 16));
  return [...new Set([...ours.keys(), ...truth.keys()])]
    .filter((pfn) => !same(ours.get(pfn), truth.get(pfn)))
    .map((pfn) => `${pfn.toString(16)} ${ours.get(pfn)} ${truth.get(pfn)}`);
}
