import { DWARF_RULES } from "./rules.js";
import { latin1Bytes } from "../binary/layout.js";
import { Cursor, DwarfSection } from "./section.js";

/** Versions whose hash ignores case and whose values have attributes (gdb manual, Index Section Format). */
const OLDEST = 7;
const NEWEST = 9;

/**
 * Section offsets of the units that `.gdb_index` lists for a name.
 *
 * @throws FormatError `dwarf/index`, `dwarf/end`.
 */
export function gdbIndexUnits(index: DwarfSection, name: string): number[] {
  // little endian, whatever the program is
  const section = new DwarfSection(index.file, index.name, index.bytes, true, index.fileOffset);
  const header = new Cursor(section, 0);
  const version = header.u32();
  if (version < OLDEST || version > NEWEST) return [];
  const [units, types] = [header.u32(), header.u32()];
  header.u32();
  const symbols = header.u32();
  const symbolsEnd = header.u32();
  const pool = version >= 9 ? header.u32() : symbolsEnd;
  const slots = Math.floor((symbolsEnd - symbols) / 8);
  if (slots <= 0 || symbols + 8 * slots > section.length) return [];
  const unitCount = Math.floor((types - units) / 16);
  const hash = gdbHash(name);
  const wanted = latin1Bytes(name);
  // a power of two: an odd step visits every slot
  const mask = slots - 1;
  const step = (Math.imul(hash, 17) & mask) | 1;
  let slot = hash & mask;
  for (let tries = 0; tries < slots; tries += 1) {
    const entry = new Cursor(section, symbols + 8 * slot);
    const [nameAt, valuesAt] = [entry.u32(), entry.u32()];
    if (nameAt === 0 && valuesAt === 0) return [];
    if (section.hasStringAt(pool + nameAt, wanted))
      return unitOffsets(section, pool + valuesAt, units, unitCount);
    slot = (slot + step) & mask;
  }
  return [];
}

function unitOffsets(section: DwarfSection, valuesAt: number, units: number, unitCount: number): number[] {
  const values = new Cursor(section, valuesAt);
  const count = values.u32();
  if (values.pos + 4 * count > section.length) {
    throw section.error(DWARF_RULES.index, valuesAt, `${count} units don't fit into the index`);
  }
  const offsets: number[] = [];
  for (let i = 0; i < count; i += 1) {
    // low 24 bits: number of the unit; beyond the list come type units
    const unit = values.u32() & 0xffffff;
    if (unit < unitCount) offsets.push(new Cursor(section, units + 16 * unit).u64());
  }
  return offsets;
}

/** The hash of gdb's index, case ignored. */
function gdbHash(name: string): number {
  let hash = 0;
  for (const byte of latin1Bytes(name)) {
    const lower = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
    hash = (Math.imul(hash, 67) + lower - 113) >>> 0;
  }
  return hash;
}
