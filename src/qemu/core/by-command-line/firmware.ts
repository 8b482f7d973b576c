import { latin1Bytes, viewOf } from "../../../binary/layout.js";
import { indexOfBytes } from "../../../io/byte-search.js";
import type { MemoryRange, PhysicalMemory } from "../../../guest/memory.js";
import { acpiHeader, MACHINE_ORDER as ORDER } from "../../migration/machine/layout.js";
import { SHADOW } from "./address-space.js";
import { bootParams, e820Entry, rsdp } from "./layout.js";

const HEADER = bootParams.offsetOf("header");
const E820_TABLE = 0x2d0;
const MOST_E820 = 128;
export interface Rsdp {
  /** Guest-physical address. */
  readonly at: number;
  /** Of the tables that it leads to. */
  readonly tables: readonly { readonly signature: string; readonly start: number; readonly end: number }[];
}

const LARGEST_TABLE = 1 << 20;

/** The RSDP in the BIOS area whose RSDT, and all tables that this names, have right checksums; undefined where there is none. */
export async function findRsdp(memory: PhysicalMemory): Promise<Rsdp | undefined> {
  const area = new Uint8Array(SHADOW.end - SHADOW.bios);
  const there = area.subarray(0, await memory.read(SHADOW.bios, area));
  const view = viewOf(there);
  for (let at = 0; at + rsdp.size <= there.length; at += 16) {
    const { signature, rsdt } = rsdp.read(view, at, ORDER);
    if (signature !== "RSD PTR " || !addsUp(there.subarray(at, at + rsdp.size))) continue;
    const root = await tableAt(memory, rsdt);
    if (root?.signature !== "RSDT") continue;
    const tables = [{ signature: "RSDT", start: rsdt, end: rsdt + root.bytes.length }];
    const entries = viewOf(root.bytes);
    let isRight = true;
    for (let entry = acpiHeader.size; entry + 4 <= root.bytes.length && isRight; entry += 4) {
      const start = entries.getUint32(entry, true);
      const table = await tableAt(memory, start);
      isRight = table !== undefined;
      if (table !== undefined)
        tables.push({ signature: table.signature, start, end: start + table.bytes.length });
    }
    if (isRight && tables.length > 1) return { at: SHADOW.bios + at, tables };
  }
  return undefined;
}

async function tableAt(
  memory: PhysicalMemory,
  address: number,
): Promise<{ readonly signature: string; readonly bytes: Uint8Array } | undefined> {
  const head = new Uint8Array(acpiHeader.size);
  if ((await memory.read(address, head)) < head.length) return undefined;
  const { signature, length } = acpiHeader.decode(head, ORDER);
  if (length < acpiHeader.size || length > LARGEST_TABLE) return undefined;
  const bytes = new Uint8Array(length);
  const isRight = (await memory.read(address, bytes)) === length && addsUp(bytes);
  return isRight ? { signature, bytes } : undefined;
}

const addsUp = (bytes: Uint8Array): boolean => bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0) === 0;

/** An entry of the memory map that firmware gave the kernel. */
export interface E820Range {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly isRam: boolean;
}

const SWEEP = 1 << 20;
const SIGNATURE = latin1Bytes("HdrS");

/** Maps of memory in what look like a Linux kernel's boot_params, each with its place, in the given ranges. */
export async function* e820Maps(
  memory: PhysicalMemory,
  ranges: Iterable<Pick<MemoryRange, "start" | "end">>,
): AsyncGenerator<{ readonly at: number; readonly map: readonly E820Range[] }> {
  const buffer = new Uint8Array(SWEEP);
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += SWEEP - SIGNATURE.length) {
      const n = await memory.read(at, buffer.subarray(0, Math.min(SWEEP, end - at)));
      const bytes = buffer.subarray(0, n);
      for (
        let hit = indexOfBytes(bytes, SIGNATURE, 0);
        hit !== -1;
        hit = indexOfBytes(bytes, SIGNATURE, hit + 1)
      ) {
        const base = at + hit - HEADER;
        const map = base < 0 ? undefined : await e820At(memory, base);
        if (map !== undefined) yield { at: base, map };
      }
    }
  }
}

async function e820At(memory: PhysicalMemory, base: number): Promise<readonly E820Range[] | undefined> {
  const bytes = new Uint8Array(E820_TABLE + MOST_E820 * e820Entry.size);
  if ((await memory.read(base, bytes)) < bytes.length) return undefined;
  const view = viewOf(bytes);
  const { e820_entries: count } = bootParams.read(view, 0, ORDER);
  if (count < 2 || count > MOST_E820) return undefined;
  const map: E820Range[] = [];
  for (let i = 0; i < count; i += 1) {
    const { addr, size, type } = e820Entry.read(view, E820_TABLE + i * e820Entry.size, ORDER);
    const [start, end] = [Number(addr), Number(addr + size)];
    if (size === 0n || type === 0 || !Number.isSafeInteger(end) || start < (map.at(-1)?.end ?? 0))
      return undefined;
    map.push({ start, end, isRam: type === 1 });
  }
  return map;
}
