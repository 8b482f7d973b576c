import { latin1, viewOf } from "../../binary/layout.js";
import { GuestscopeError } from "../../io/errors.js";
import type { QevmStream } from "./stream.js";

const BLOCK = "/rom@etc/acpi/tables";
const LARGEST = 4 << 20;
const HEADER = 36;
const TWO_32 = 2 ** 32;

/** Memory as the ACPI tables describe it to the guest. */
export interface AcpiMemory {
  readonly node: number;
  readonly start: number;
  readonly size: number;
  /** Room for memory that is plugged while the machine runs, not memory itself. */
  readonly forHotPlug: boolean;
  /** An NVDIMM's. */
  readonly nonVolatile: boolean;
}

/** QEMU's ACPI tables as the machine gives them to its firmware; undefined where the stream lacks them. */
export async function readAcpiTables(stream: QevmStream): Promise<Uint8Array | undefined> {
  const block = stream.ram?.blocks.find(({ name }) => name === BLOCK);
  if (block === undefined || block.length > LARGEST) return undefined;
  const bytes = new Uint8Array(block.length);
  try {
    const read = await stream.ram?.index.map.read(block.firstFrame * stream.pageSize, bytes);
    return read === bytes.length ? bytes : undefined;
  } catch (error) {
    // a damaged page, or an input that can't be read twice: tables are a help, not a need
    if (error instanceof GuestscopeError) return undefined;
    throw error;
  }
}

/** Memory entries of the SRAT, in its order; empty without one. */
export function sratMemory(tables: Uint8Array): readonly AcpiMemory[] {
  const table = acpiTable(tables, "SRAT");
  if (table === undefined) return [];
  const view = viewOf(table);
  const found: AcpiMemory[] = [];
  // behind the header a reserved u32 and u64
  for (let at = HEADER + 12; at + 2 <= table.length; at += Math.max(2, table[at + 1] ?? 2)) {
    if (table[at] !== 1 || table[at + 1] !== 40 || at + 40 > table.length) continue;
    const flags = view.getUint32(at + 28, true);
    const size = view.getUint32(at + 16, true) + view.getUint32(at + 20, true) * TWO_32;
    if ((flags & 1) === 0 || size === 0) continue;
    found.push({
      node: view.getUint32(at + 2, true),
      start: view.getUint32(at + 8, true) + view.getUint32(at + 12, true) * TWO_32,
      size,
      forHotPlug: (flags & 2) !== 0,
      nonVolatile: (flags & 4) !== 0,
    });
  }
  return found;
}

/** Persistent memory by the NFIT: where each NVDIMM lies. */
export function nfitMemory(tables: Uint8Array): readonly { readonly start: number; readonly size: number }[] {
  const table = acpiTable(tables, "NFIT");
  if (table === undefined) return [];
  const view = viewOf(table);
  const found: { start: number; size: number }[] = [];
  for (let at = HEADER + 4; at + 4 <= table.length; ) {
    const length = view.getUint16(at + 2, true);
    // type 0: a range of system addresses
    if (view.getUint16(at, true) === 0 && length >= 56 && at + 56 <= table.length)
      found.push({
        start: view.getUint32(at + 32, true) + view.getUint32(at + 36, true) * TWO_32,
        size: view.getUint32(at + 40, true) + view.getUint32(at + 44, true) * TWO_32,
      });
    at += Math.max(4, length);
  }
  return found;
}

/** The guest's firmware sets checksums later: signature and length must do. */
function acpiTable(tables: Uint8Array, signature: string): Uint8Array | undefined {
  const view = viewOf(tables);
  const first = signature.charCodeAt(0);
  for (let at = tables.indexOf(first); at !== -1 && at + HEADER <= tables.length; ) {
    const length = view.getUint32(at + 4, true);
    const fits = length >= HEADER && at + length <= tables.length;
    if (fits && latin1(tables.subarray(at, at + 4)) === signature) return tables.subarray(at, at + length);
    at = tables.indexOf(first, at + 1);
  }
  return undefined;
}
