import * as zlib from "node:zlib";
import type { GuestImage } from "../../../src/guest/image.js";

/** Contents of a guest's readable pages: pfn → crc32 in hexadecimal. */
export async function pageSums(guest: GuestImage): Promise<Map<number, string>> {
  const zero = new Uint8Array(4096);
  const sums = new Map<number, string>();
  for await (const piece of guest.memory.pieces()) {
    for (let at = 0; at < piece.length; at += 4096) {
      const page = piece.bytes?.subarray(at, at + 4096) ?? zero;
      sums.set((piece.gpa + at) / 4096, crc(page));
    }
  }
  return sums;
}

/** Pages that are not there, by reason: pfns. */
export function absentPages(guest: GuestImage): Map<string, number[]> {
  const absent = new Map<string, number[]>();
  for (const range of guest.memory.ranges()) {
    if (range.presence !== "absent") continue;
    const pfns = absent.get(range.reason?.text ?? "") ?? [];
    for (let at = range.start; at < range.end; at += 4096) pfns.push(at / 4096);
    absent.set(range.reason?.text ?? "", pfns);
  }
  return absent;
}

export const crc = (bytes: Uint8Array): string => zlib.crc32(bytes).toString(16).padStart(8, "0");

/** Lines `pfn type crc32` of a ground truth: those with contents, and those of a type without. */
export function truth(text: string): { sums: Map<number, string>; without: Map<number, string> } {
  const sums = new Map<number, string>();
  const without = new Map<number, string>();
  for (const line of text.trim().split("\n")) {
    const [pfn = "", type = "", sum = ""] = line.split(" ");
    if (sum === "-") without.set(Number.parseInt(pfn, 16), type);
    else sums.set(Number.parseInt(pfn, 16), sum.padStart(8, "0"));
  }
  return { sums, without };
}
