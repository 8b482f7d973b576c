import { viewOf } from "../../../binary/layout.js";
import { GuestscopeError } from "../../../findings/errors.js";
import { acpiHeader, MACHINE_ORDER, nfitRange, sratMemoryEntry } from "./layout.js";
import type { QevmStream } from "../stream.js";

const BLOCK = "/rom@etc/acpi/tables";
const LARGEST = 4 << 20;

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
  const { size: whole } = sratMemoryEntry;
  for (let at = acpiHeader.size + 12; at + 2 <= table.length; at += Math.max(2, table[at + 1] ?? 2)) {
    if (table[at] !== 1 || table[at + 1] !== whole || at + whole > table.length) continue;
    const { node, base, size, flags } = sratMemoryEntry.read(view, at, MACHINE_ORDER);
    if ((flags & 1) === 0 || size === 0n) continue;
    found.push({
      node,
      start: Number(base),
      size: Number(size),
      forHotPlug: (flags & 2) !== 0,
      nonVolatile: (flags & 4) !== 0,
    });
  }
  return found;
}

/** Persistent memory by the NFIT: the address of each NVDIMM. */
export function nfitMemory(tables: Uint8Array): readonly { readonly start: number; readonly size: number }[] {
  const table = acpiTable(tables, "NFIT");
  if (table === undefined) return [];
  const view = viewOf(table);
  const found: { start: number; size: number }[] = [];
  for (let at = acpiHeader.size + 4; at + 4 <= table.length; ) {
    const length = view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === 0 && length >= nfitRange.size && at + nfitRange.size <= table.length) {
      const { base, size } = nfitRange.read(view, at, MACHINE_ORDER);
      found.push({ start: Number(base), size: Number(size) });
    }
    at += Math.max(4, length);
  }
  return found;
}

/** The guest's firmware sets checksums later: signature and length must do. */
function acpiTable(tables: Uint8Array, wanted: string): Uint8Array | undefined {
  const view = viewOf(tables);
  const first = wanted.charCodeAt(0);
  for (let at = tables.indexOf(first); at !== -1 && at + acpiHeader.size <= tables.length; ) {
    const { signature, length } = acpiHeader.read(view, at, MACHINE_ORDER);
    if (signature === wanted && length >= acpiHeader.size && at + length <= tables.length)
      return tables.subarray(at, at + length);
    at = tables.indexOf(first, at + 1);
  }
  return undefined;
}
