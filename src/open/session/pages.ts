import type { GuestImage } from "../../guest/image.js";
import { isDamage } from "../../guest/damage.js";
import { PAGE_SIZE, type PhysicalMemory } from "../../guest/memory.js";
import { findRun } from "./memory-table.js";
import type { MemoryTable, PageHashes, Samples } from "./protocol.js";

/** Pages looked at in one call at most. */
const MOST_PAGES = 1 << 14;

/** Reads a page whole; false where its contents are not known. */
async function readPage(memory: PhysicalMemory, gpa: number, into: Uint8Array): Promise<boolean> {
  try {
    return (await memory.read(gpa, into)) === into.length;
  } catch (error) {
    if (isDamage(error)) return false;
    throw error;
  }
}

/** Entropy and share of text of single pages, for a picture of what memory holds. */
export async function samplePages({ memory }: GuestImage, addresses: Float64Array): Promise<Samples> {
  const count = Math.min(addresses.length, MOST_PAGES);
  const there = new Uint8Array(count);
  const entropy = new Uint8Array(count);
  const text = new Uint8Array(count);
  const page = new Uint8Array(PAGE_SIZE);
  const counts = new Uint32Array(256);
  for (let i = 0; i < count; i += 1) {
    const address = addresses[i] ?? Number.NaN;
    if (!Number.isSafeInteger(address) || address < 0) continue;
    if (!(await readPage(memory, address - (address % PAGE_SIZE), page))) continue;
    there[i] = 1;
    counts.fill(0);
    for (let at = 0; at < PAGE_SIZE; at += 1) {
      const byte = page[at] ?? 0;
      counts[byte] = (counts[byte] ?? 0) + 1;
    }
    let bits = 0;
    let printable = 0;
    for (let byte = 0; byte < 256; byte += 1) {
      const n = counts[byte] ?? 0;
      if (n === 0) continue;
      bits -= (n / PAGE_SIZE) * Math.log2(n / PAGE_SIZE);
      if ((byte >= 0x20 && byte < 0x7f) || byte === 9 || byte === 10 || byte === 13) printable += n;
    }
    entropy[i] = Math.round((bits / 8) * 255);
    text[i] = Math.round((printable / PAGE_SIZE) * 255);
  }
  return { there, entropy, text };
}

/** Two 32-bit sums (FNV-1a and a multiplicative one over words) of pages, to find changed pages of two guests. */
export async function hashPages(
  { memory }: GuestImage,
  table: MemoryTable,
  start: number,
  pages: number,
): Promise<PageHashes> {
  const count = Math.max(0, Math.min(pages, MOST_PAGES));
  const hashes = new Uint32Array(2 * count);
  const known = new Uint8Array(count);
  const page = new Uint8Array(PAGE_SIZE);
  const words = new Uint32Array(page.buffer);
  for (let i = 0; i < count; i += 1) {
    const gpa = start + i * PAGE_SIZE;
    const run = findRun(table, gpa);
    if (run < 0 || table.legend[table.kinds[run] ?? 0]?.presence === "absent") continue;
    if (!(await readPage(memory, gpa, page))) continue;
    known[i] = 1;
    let a = 0x811c_9dc5;
    let b = 0x9e37_79b9;
    for (const word of words) {
      a = Math.imul(a ^ word, 0x0100_0193);
      b = Math.imul(((b << 5) | (b >>> 27)) ^ word, 0x85eb_ca6b);
    }
    hashes[2 * i] = a;
    hashes[2 * i + 1] = b;
  }
  return { hashes, known };
}
