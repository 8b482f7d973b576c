import type { DwarfFile } from "./file.js";
import { debugNamesUnits } from "./debug-names.js";
import { gdbIndexUnits } from "./gdb-index.js";
import type { Unit } from "./unit.js";

/**
 * The units that an index in the file (`.debug_names`, `.gdb_index`) lists for a name, of some tags where the index
 * has them. Undefined without an index, or when it doesn't know the name: indexes leave out some names, so that a
 * search may still find it.
 */
export function indexedUnits(file: DwarfFile, name: string, tags: readonly number[]): Unit[] | undefined {
  const offsets =
    file.names !== undefined
      ? debugNamesUnits(file.names, file.str, name, tags)
      : file.gdbIndex !== undefined
        ? gdbIndexUnits(file.gdbIndex, name)
        : [];
  const units = new Set<Unit>();
  for (const offset of offsets) {
    const unit = file.areas[0]?.unitAt(offset);
    if (unit !== undefined && unit.offset === offset) units.add(unit);
  }
  return units.size === 0 ? undefined : [...units].sort((a, b) => a.offset - b.offset);
}
