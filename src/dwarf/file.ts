import { DWARF_RULES } from "./rules.js";
import { type DebugAltLink, ElfFile } from "../elf/file.js";
import { ET_REL, SHT_NOBITS } from "../elf/layout.js";
import { AbsentError } from "../findings/errors.js";
import { AbbrevTable } from "./abbrev.js";
import type { Die } from "./unit.js";
import type { UnitShape } from "./forms.js";
import { type Contribution, readPackageIndex } from "./package-index.js";
import { DwarfSection } from "./section.js";
import type { Unit, EntryArea, UnitFile } from "./unit.js";
import { UnitArea } from "./area.js";

/** Sections with a single use; `debug_info` and `debug_types` are areas. */
const SECTIONS = {
  abbrev: "debug_abbrev",
  str: "debug_str",
  lineStr: "debug_line_str",
  strOffsets: "debug_str_offsets",
  addr: "debug_addr",
  names: "debug_names",
  gdbIndex: "gdb_index",
  cuIndex: "debug_cu_index",
  tuIndex: "debug_tu_index",
} as const;
type SectionKey = keyof typeof SECTIONS;

/** Sections that a package has no `.dwo` after. */
const UNSUFFIXED: ReadonlySet<SectionKey> = new Set(["names", "gdbIndex", "cuIndex", "tuIndex", "addr"]);

/** What kind of file the sections are from: the program's, or a .dwo or .dwp beside it. */
export type DwarfRole = "main" | "split";

/** The DWARF of one ELF file. */
export class DwarfFile implements UnitFile {
  readonly name: string;
  readonly littleEndian: boolean;
  readonly role: DwarfRole;
  readonly areas: readonly UnitArea[];
  readonly abbrev: DwarfSection | undefined;
  readonly str: DwarfSection | undefined;
  readonly lineStr: DwarfSection | undefined;
  readonly strOffsets: DwarfSection | undefined;
  readonly addr: DwarfSection | undefined;
  readonly names: DwarfSection | undefined;
  readonly gdbIndex: DwarfSection | undefined;
  /** The file that dwz moved common parts to, and what the link to it says. */
  alternate: DwarfFile | undefined;
  readonly alternateLink: DebugAltLink | undefined;
  /** Skeleton units of the program by the id they share with split ones. */
  skeletons: ReadonlyMap<bigint, Unit> = new Map();
  readonly #tables = new Map<number, AbbrevTable>();
  readonly #contributions: ReadonlyMap<number, Contribution>;
  readonly #typeContributions: ReadonlyMap<number, Contribution>;
  #abbrevBytes = 0;
  #typeUnits: Map<bigint, Unit> | undefined;

  private constructor(elf: ElfFile, role: DwarfRole, found: LoadedSections, link: DebugAltLink | undefined) {
    this.name = elf.name;
    this.littleEndian = elf.order === "little";
    this.role = role;
    this.abbrev = found.single.abbrev;
    this.str = found.single.str;
    this.lineStr = found.single.lineStr;
    this.strOffsets = found.single.strOffsets;
    this.addr = found.single.addr;
    this.names = found.single.names;
    this.gdbIndex = found.single.gdbIndex;
    this.alternateLink = link;
    const { cuIndex, tuIndex } = found.single;
    const indices = [cuIndex, tuIndex].flatMap((s) => (s === undefined ? [] : [readPackageIndex(s)]));
    this.#contributions = new Map(indices.flatMap((index) => [...index.byInfo]));
    this.#typeContributions = new Map(indices.flatMap((index) => [...index.byTypes]));
    this.areas = [
      ...found.info.map((section) => new UnitArea(this, section, false)),
      ...found.types.map((section) => new UnitArea(this, section, true)),
    ];
  }

  /**
   * Loads and unpacks the sections and walks the unit headers. Undefined for a file without `.debug_info`.
   *
   * @throws FormatError `dwarf/…`, `elf/section/…`.
   */
  static async load(elf: ElfFile, role: DwarfRole = "main"): Promise<DwarfFile | undefined> {
    const found = await loadSections(elf, role);
    if (found.info.length === 0) return undefined;
    const link = role === "main" ? await elf.debugAltLink() : undefined;
    return new DwarfFile(elf, role, found, link);
  }

  /** Bytes of all sections in memory. */
  get size(): number {
    const single = [
      this.abbrev,
      this.str,
      this.lineStr,
      this.strOffsets,
      this.addr,
      this.names,
      this.gdbIndex,
    ];
    const areas = this.areas.map((area) => area.section);
    return [...single, ...areas].reduce((sum, section) => sum + (section?.length ?? 0), 0);
  }

  /** A section that an entry refers to. @throws FormatError `dwarf/section` when the file lacks it. */
  need(key: "str" | "lineStr", user: Die): DwarfSection {
    const section = this[key];
    if (section !== undefined) return section;
    const text = `refers to .${SECTIONS[key]}, which ${this.name} lacks`;
    throw user.unit.section.error(DWARF_RULES.section, user.offset, text);
  }

  /** @throws AbsentError `dwarf/alternate-missing` when the file was not given. */
  alternateFor(user: Die): DwarfFile {
    if (this.alternate !== undefined) return this.alternate;
    const { name, buildId } = this.alternateLink ?? { name: "an alternate file", buildId: "" };
    const id = buildId === "" ? "" : ` (build id ${buildId})`;
    const text = `part of the debug info is in ${name}${id}, which was not found`;
    throw new AbsentError(DWARF_RULES.alternateMissing, text, {
      source: this.name,
      record: `${user.unit.section.name}+0x${user.offset.toString(16)}`,
    });
  }

  /** The `.debug_info` that DW_FORM_ref_addr of a unit counts in. */
  infoArea(unit: Unit): EntryArea {
    if (!unit.area.types) return unit.area;
    return this.areas[0] ?? unit.area;
  }

  typeUnit(signature: bigint): Unit | undefined {
    if (this.#typeUnits === undefined) {
      this.#typeUnits = new Map();
      for (const area of this.areas) {
        for (const unit of area.units()) {
          if (unit.typeOffset !== undefined && unit.id !== undefined) this.#typeUnits.set(unit.id, unit);
        }
      }
    }
    return this.#typeUnits.get(signature);
  }

  /** Where the parts of a unit of a package lie; undefined outside of packages. */
  contribution(unit: Unit): Contribution | undefined {
    return (unit.area.types ? this.#typeContributions : this.#contributions).get(unit.offset);
  }

  /** The skeleton of a split unit. */
  skeleton(unit: Unit): Unit | undefined {
    if (this.role !== "split") return undefined;
    const id = unit.splitId;
    return id === undefined ? undefined : this.skeletons.get(id);
  }

  /** @throws FormatError `dwarf/abbrev` and what AbbrevTable throws. */
  abbrevTable(unit: Unit): AbbrevTable {
    const { abbrev } = this;
    if (abbrev === undefined) {
      throw unit.section.error(DWARF_RULES.section, unit.offset, `${this.name} has no abbreviations`);
    }
    const shape: UnitShape = unit;
    const offset = unit.abbrevOffset + (this.contribution(unit)?.abbrev ?? 0);
    // a number for what the size of a form depends on, beside the offset
    const kind = (shape.version <= 2 ? 1 : 0) | (shape.is64 ? 2 : 0) | (shape.addressSize << 2);
    const key = offset * 64 + kind;
    const known = this.#tables.get(key);
    if (known !== undefined) return known;
    const table = new AbbrevTable(abbrev, offset, shape);
    // tables don't overlap: units that point into the middle of each other's would make the work endless
    this.#abbrevBytes += table.length;
    if (this.#abbrevBytes > 4 * abbrev.length + 4096) {
      throw unit.section.error(DWARF_RULES.abbrev, unit.offset, "abbreviation tables of the units overlap");
    }
    this.#tables.set(key, table);
    return table;
  }
}

interface LoadedSections {
  readonly single: Partial<Record<SectionKey, DwarfSection>>;
  readonly info: readonly DwarfSection[];
  readonly types: readonly DwarfSection[];
}

async function loadSections(elf: ElfFile, role: DwarfRole): Promise<LoadedSections> {
  const sections = (await elf.sections()).filter((section) => section.type !== SHT_NOBITS);
  // split units need no relocation, not even in an object file that holds them beside the others
  const relocated = role === "main" && sections.some(({ name }) => /^\.rela?\.debug_info$/.test(name));
  if (elf.header.e_type === ET_REL && relocated) {
    throw elf.error(DWARF_RULES.relocatable, "an object file whose debug info is not linked yet", 16);
  }
  const suffix = role === "split" ? ".dwo" : "";
  const load = async (base: string, isPlain: boolean): Promise<DwarfSection[]> => {
    const ending = isPlain ? "" : suffix;
    const names = [`.${base}${ending}`, `.z${base}${ending}`];
    const loaded: DwarfSection[] = [];
    for (const section of sections) {
      if (!names.includes(section.name)) continue;
      const bytes = await elf.sectionData(section);
      const fileOffset = ElfFile.isCompressed(section) ? undefined : section.offset;
      loaded.push(new DwarfSection(elf.name, section.name, bytes, elf.order === "little", fileOffset));
    }
    return loaded;
  };
  const info = await load("debug_info", false);
  if (info.length === 0) return { single: {}, info, types: [] };
  const single: Partial<Record<SectionKey, DwarfSection>> = {};
  for (const key of Object.keys(SECTIONS) as SectionKey[]) {
    const [section] = await load(SECTIONS[key], UNSUFFIXED.has(key));
    if (section !== undefined) single[key] = section;
  }
  return { single, info, types: await load("debug_types", false) };
}
