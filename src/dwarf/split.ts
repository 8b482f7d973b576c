import { DWARF_RULES } from "./rules.js";
import type { ElfFile } from "../elf/file.js";
import { FormatError } from "../findings/errors.js";
import * as dw from "./constants.js";
import { DwarfFile } from "./file.js";
import type { Unit } from "./unit.js";

/** Where split units (.dwo, .dwp) are found. */
export interface SplitOptions {
  /** The package with all split units (`PROGRAM.dwp`). */
  readonly package?: ElfFile;
  /** Opens a `.dwo` by the name and the compilation directory that the program gives; undefined: not there. */
  readonly openSplit?: (name: string, directory: string) => Promise<ElfFile | undefined>;
}

/**
 * The files with split units of a program.
 *
 * @throws FormatError `dwarf/split` for a `.dwo` that holds another unit than the program expects.
 */
export async function loadSplitUnits(
  main: DwarfFile,
  options: SplitOptions,
): Promise<{ readonly files: readonly DwarfFile[]; readonly missing: readonly string[] }> {
  const skeletons = findSkeletons(main);
  if (skeletons.size === 0) return { files: [], missing: [] };
  const files: DwarfFile[] = [];
  const missing: string[] = [];
  const present = new Set<bigint>();
  const take = (file: DwarfFile): void => {
    file.skeletons = skeletons;
    files.push(file);
    for (const area of file.areas) {
      for (const unit of area.units()) {
        const id = unit.typeOffset === undefined ? unit.splitId : undefined;
        if (id !== undefined) present.add(id);
      }
    }
  };
  if (options.package !== undefined) {
    const file = await DwarfFile.load(options.package, "split");
    if (file !== undefined) take(file);
  }
  for (const [id, skeleton] of skeletons) {
    if (present.has(id)) continue;
    const name = skeleton.splitName ?? "";
    const elf = await options.openSplit?.(name, skeleton.root.string(dw.DW_AT_comp_dir) ?? "");
    const file = elf === undefined ? undefined : await DwarfFile.load(elf, "split");
    if (file === undefined) {
      missing.push(name);
      continue;
    }
    take(file);
    if (!present.has(id)) {
      const text = `holds no unit 0x${id.toString(16)} of ${main.name}: it is of another build`;
      throw new FormatError(DWARF_RULES.split, text, { source: file.name });
    }
  }
  return { files, missing };
}

/** Units of the program that stand for split ones, by their id. */
function findSkeletons(main: DwarfFile): Map<bigint, Unit> {
  const skeletons = new Map<bigint, Unit>();
  const [area] = main.areas;
  if (area?.mayBeSplit !== true) return skeletons;
  for (const unit of area.units()) {
    if ((unit.version >= 5 && unit.type !== dw.DW_UT_skeleton) || unit.splitName === undefined) continue;
    const id = unit.splitId;
    if (id !== undefined) skeletons.set(id, unit);
  }
  return skeletons;
}
