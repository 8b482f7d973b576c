import { ElfFile } from "../../elf/file.js";
import {
  ELF_MAGIC,
  elfLayouts,
  ET_CORE,
  EV_CURRENT,
  PN_XNUM,
  PT_LOAD,
  PT_NOTE,
  type Ehdr,
} from "../../elf/layout.js";
import type { ElfNote } from "../../elf/notes.js";
import { FormatError } from "../../findings/errors.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import {
  ARCHITECTURES,
  architectureOfMachine,
  architectureOfPrstatus,
} from "../../guest/arch/architectures.js";
import { X86_64 } from "../../guest/arch/x86.js";
import type { UnplacedBlock } from "../../guest/image.js";
import type { LostPart, Rescue } from "../../guest/salvage.js";
import { NT_PRSTATUS } from "../../elf/layout.js";
import type { ByteSource } from "../../io/byte-source.js";
import { findPlace, likelyCounts, likelyPlaces, readingsOf } from "./rescue-places.js";
import { mayBeTable, MOST_HEADERS, type TablePlace } from "./rescue-header.js";
import { weighTable, type WeighedTable } from "./rescue-table.js";

/*
 * The program headers say things twice: contents follow one another, memory has two lengths and two addresses, the notes
 * come between table and contents. Every place, width and number of headers that can be meant is weighed by how much then
 * agrees, the stated ones first; what agrees most is taken.
 */

/** An ELF vmcore whose headers were made anew from what agrees. */
export interface RescuedElf {
  readonly elf: ElfFile;
  readonly notes: readonly ElfNote[];
  readonly rescue: Rescue;
  /** Where the contents end that headers describe, or would. */
  readonly contentsEnd: number;
  /** Memory whose address is lost. */
  readonly unplaced: readonly UnplacedBlock[];
  /** Whether the architecture is a guess. */
  readonly archIsGuess: boolean;
}

/** Things that must agree before headers that were found elsewhere are believed. */
const LEAST_AGREEING = 3;

/**
 * Makes the headers of a damaged ELF vmcore anew; undefined where nothing speaks against those that are there, or nothing
 * is found that fits better.
 */
export async function rescueElf(input: ByteSource): Promise<RescuedElf | undefined> {
  const stated = await statedPlace(input);
  if (stated?.count !== undefined && stated.count > MOST_HEADERS) return undefined;
  const first = stated === undefined ? undefined : await weighTable(input, stated, stated.count ?? 0);
  if (first !== undefined && first.isWhole && isFaultless(first) && (await isHeaderWhole(input, first)))
    return undefined;
  const best = await bestTable(input, first);
  if (best === undefined || (best !== first && best.score < LEAST_AGREEING)) return undefined;
  return isFaultless(best) && (await isHeaderWhole(input, best)) ? undefined : rebuilt(input, best);
}

/** Whether bytes that don't begin as an ELF core are one whose headers are damaged. */
export async function isDamagedElf(input: ByteSource): Promise<boolean> {
  if (await isOtherElf(input)) return false;
  const best = await bestTable(input, undefined);
  return best !== undefined && best.score > LEAST_AGREEING && best.headers.some(({ isLost }) => !isLost);
}

/** Whether a whole ELF header says that the file is a program, a library or an object file. */
async function isOtherElf(input: ByteSource): Promise<boolean> {
  const [stated] = await readingsOf(input);
  const header = stated?.header;
  if (stated?.agrees !== 2 || header === undefined) return false;
  return (
    ELF_MAGIC.every((byte, i) => header.e_ident[i] === byte) &&
    header.e_type > 0 &&
    header.e_type < ET_CORE &&
    header.e_version === EV_CURRENT &&
    header.e_ehsize === elfLayouts(stated.bits).ehdr.size
  );
}

/** The table as the ELF header has it; undefined where it can't be read. */
async function statedPlace(input: ByteSource): Promise<TablePlace | undefined> {
  try {
    const { bits, order, header, segments } = await ElfFile.open(input);
    if (header.e_type !== ET_CORE || header.e_phentsize === 0 || segments.length === 0) return undefined;
    return { bits, order, at: header.e_phoff, count: segments.length };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return undefined;
  }
}

async function machineOf(input: ByteSource, { bits, order }: TablePlace): Promise<number> {
  const found = (await readingsOf(input)).find((one) => one.bits === bits && one.order === order);
  return found?.header?.e_machine ?? 0;
}

/** Whether nothing speaks against a table. */
function isFaultless({ headers, notes, unknown }: WeighedTable): boolean {
  return (
    unknown.length === 0 &&
    notes?.isMended !== true &&
    (notes?.lost.length ?? 0) === 0 &&
    headers.every((row) => row.changed.size === 0 && (!row.isLost || isOther(row.header.type)))
  );
}

/** Whether a type is one of headers that are neither memory nor notes. */
const isOther = (type: number): boolean =>
  type !== PT_LOAD && type !== PT_NOTE && (type < 8 || (type >= 0x6000_0000 && type <= 0x7fff_ffff));

/** Tables that are weighed: bounds the time that a hostile input takes. */
const MOST_WEIGHED = 48;

async function bestTable(
  input: ByteSource,
  first: WeighedTable | undefined,
): Promise<WeighedTable | undefined> {
  let best = first;
  let weighed = 0;
  const consider = async (place: TablePlace): Promise<void> => {
    for (const count of await likelyCounts(input, place)) {
      weighed += 1;
      if (weighed > MOST_WEIGHED) return;
      if (!(await mayBeTable(input, place, count))) continue;
      const table = await weighTable(input, place, count);
      if (best === undefined || isBetter(table, best)) best = table;
    }
  };
  const readings = await readingsOf(input);
  for (const reading of readings)
    for (const place of likelyPlaces(reading, input.size)) await consider(place);
  if (best !== undefined && best.score >= LEAST_AGREEING) return best;
  for (const reading of readings) {
    const place = await findPlace(input, reading);
    if (place !== undefined) await consider(place);
  }
  return best;
}

function isBetter(one: WeighedTable, other: WeighedTable): boolean {
  if (one.score !== other.score) return one.score > other.score;
  return lostOf(one) < lostOf(other);
}

const lostOf = ({ headers, unknown }: WeighedTable): number =>
  headers.filter(({ isLost }) => isLost).length + unknown.length;

async function rebuilt(input: ByteSource, table: WeighedTable): Promise<RescuedElf> {
  const { place, headers, notes } = table;
  const { bits, order, at } = place;
  const { ehdr, phdr } = elfLayouts(bits);
  const kept = headers.filter(({ isLost, header }) => !isLost && header.type === PT_LOAD);
  const { arch, isGuess } = await architectureFor(input, place, notes?.notes ?? []);
  const header: Ehdr = {
    e_ident: new Uint8Array(16),
    e_type: ET_CORE,
    e_machine: arch.machine,
    e_version: EV_CURRENT,
    e_entry: 0n,
    e_phoff: at,
    e_shoff: 0,
    e_flags: 0,
    e_ehsize: ehdr.size,
    e_phentsize: phdr.size,
    e_phnum: kept.length,
    e_shentsize: 0,
    e_shnum: 0,
    e_shstrndx: 0,
  };
  const segments = new Uint8Array(kept.length * phdr.size);
  for (const [i, { header: one }] of kept.entries())
    segments.set(
      phdr.encode(
        {
          p_type: PT_LOAD,
          p_flags: 0,
          p_offset: one.offset,
          p_vaddr: one.virtual,
          p_paddr: one.physical,
          p_filesz: one.fileSize,
          p_memsz: one.memorySize,
          p_align: 0n,
        },
        order,
      ),
      i * phdr.size,
    );
  const elf = ElfFile.from(input, bits, order, header, segments);
  return {
    elf,
    notes: notes?.notes ?? [],
    rescue: { lost: lostParts(table, await isHeaderWhole(input, table)), doubtful: [] },
    contentsEnd: [
      ...kept.map(({ header: one }) => one.offset + one.fileSize),
      ...table.unknown.map(({ end }) => end),
    ].reduce((most, end) => Math.max(most, end), notes?.end ?? 0),
    unplaced: table.unknown.map(({ start, end }) => ({
      name: `contents at 0x${start.toString(16)}`,
      size: end - start,
      reason: { kind: "damaged", text: "lost: the program header that says its address" },
    })),
    archIsGuess: isGuess,
  };
}

/** Whether the ELF header leads to the table that was taken. */
async function isHeaderWhole(input: ByteSource, { place, headers, notes }: WeighedTable): Promise<boolean> {
  const { bits, order, at } = place;
  const [stated] = await readingsOf(input);
  const header = stated?.header;
  if (stated?.agrees !== 2 || header === undefined || stated.bits !== bits || stated.order !== order)
    return false;
  const count = headers.length + (notes?.index === undefined ? 0 : 1);
  return (
    ELF_MAGIC.every((byte, i) => header.e_ident[i] === byte) &&
    header.e_type === ET_CORE &&
    header.e_version === EV_CURRENT &&
    header.e_phoff === at &&
    header.e_phentsize === elfLayouts(bits).phdr.size &&
    (header.e_phnum === count || (header.e_phnum === PN_XNUM && count >= PN_XNUM)) &&
    architectureOfMachine(header.e_machine, order) !== undefined
  );
}

function lostParts({ place, headers, notes, unknown, score }: WeighedTable, isWhole: boolean): LostPart[] {
  const { ehdr, phdr } = elfLayouts(place.bits);
  const lost: LostPart[] = [];
  if (!isWhole) lost.push({ start: 0, end: ehdr.size, proof: score, what: "the ELF header, made anew" });
  const at = (index: number): { start: number; end: number } => ({
    start: place.at + index * phdr.size,
    end: place.at + (index + 1) * phdr.size,
  });
  if (notes?.isMended === true && notes.index !== undefined)
    lost.push({ ...at(notes.index), proof: 2, what: "the program header of the notes, made anew" });
  for (const { header, changed, isLost, joints, why } of headers) {
    const { index } = header;
    if (isLost && isOther(header.type) && unknown.length === 0 && header.isBlank) continue;
    const what = isLost
      ? `program header ${index}${why === undefined ? "" : `: ${why}`}`
      : `program header ${index}: ${[...changed].join(", ")} made anew`;
    if (isLost || changed.size > 0)
      lost.push({ ...at(index), proof: isLost ? 0 : Math.max(1, joints), what });
  }
  for (const part of notes?.lost ?? []) lost.push({ ...part, proof: 2, what: "notes" });
  for (const part of unknown) lost.push({ ...part, proof: 2, what: "memory whose address is unknown" });
  return lost.sort((a, b) => a.start - b.start);
}

/** The architecture by e_machine, or by the notes where that is damaged. */
async function architectureFor(
  input: ByteSource,
  place: TablePlace,
  notes: readonly ElfNote[],
): Promise<{ arch: Architecture; isGuess: boolean }> {
  const { bits, order } = place;
  const known = architectureOfMachine(await machineOf(input, place), order);
  const state = notes.find(({ name, type, descriptor }) => {
    return name === "CORE" && type === NT_PRSTATUS && descriptor.length > 0;
  });
  const noted = architectureOfPrstatus(state?.descriptor.length, order);
  if (known !== undefined) return { arch: known, isGuess: false };
  if (noted !== undefined) return { arch: noted, isGuess: false };
  const guess = ARCHITECTURES.find((arch) => arch.bits === bits && arch.order === order);
  return { arch: guess ?? X86_64, isGuess: true };
}
