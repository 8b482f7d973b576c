import { beginsWithNote, salvageNotes } from "../../elf/notes-salvage.js";
import { ehdr64, SHT_NOTE, SHT_PROGBITS, shdr64 } from "../../elf/layout.js";
import type { ElfNote } from "../../elf/notes.js";
import type { ElfSection } from "../../elf/section.js";
import { FormatError } from "../../findings/errors.js";
import { latin1, viewOf } from "../../binary/layout.js";
import { pvContext64 } from "../../guest/pv-context.js";
import type { LostPart } from "../../guest/salvage.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { factsOf, openXenCore, readXenCore, type XenCore, type XenCoreFacts } from "./read.js";
import { roundUp } from "../../io/alignment.js";
import { ascends, findNames, isSound, movedTable, shiftedCore } from "./shift.js";

/*
 * Sections follow one another in one order: section headers, notes, vCPUs, shared info, pages at a page's boundary, the
 * table of frames with an entry a page, the names. Each number is tried as the headers say it and as the others leave it;
 * what agrees most is taken.
 */

const PAGE = 4096;
/** Notes follow the section headers, of which there are a few. */
const HEAD = 64 << 10;
/** Xen's four notes. */
const NOTES_SIZE = 1384;
/** Things that must agree. */
const LEAST_AGREEING = 3;

/** A Xen core whose sections were found by what agrees. */
export interface RescuedCore {
  readonly core: XenCore;
  readonly lost: readonly LostPart[];
  /** Bytes by which the table is after the place that the headers say, below zero before it: contents may be shifted. */
  readonly shift?: number | undefined;
}

/** Where the pages and the table of their frames are. */
interface Geometry {
  readonly pagesAt: number;
  readonly pages: number;
  readonly entry: 8 | 16;
  /** How much agrees. */
  readonly score: number;
}

/** Opens a Xen core. With damaged headers or sections, or without them: what agrees. @throws FormatError where nothing does */
export async function rescueXenCore(input: ByteSource): Promise<RescuedCore> {
  let failure: FormatError | undefined;
  try {
    const core = await openXenCore(input);
    if (await isConsistent(core)) return { core, lost: [] };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    failure = error;
    const found = await shiftedCore(input);
    if (found !== undefined) return { ...found, lost: [] };
  }
  const rescued = await new Sections(input).find();
  if (rescued !== undefined) return rescued;
  if (failure !== undefined) throw failure;
  return { core: await openXenCore(input), lost: [] };
}

/** Whether a file that doesn't begin as a Xen core is one. */
export async function isDamagedXenCore(input: ByteSource): Promise<boolean> {
  return (await new Sections(input).find()) !== undefined;
}

/** Whether sections have room for as many pages as the header note counts, and come in their order. */
async function isConsistent(core: XenCore): Promise<boolean> {
  if (!isSound(core)) return false;
  const { input, frames } = core;
  const names = await findNames(input);
  return names === undefined || names === frames.offset + frames.size;
}

interface Stated {
  readonly offset: number;
  readonly size: number;
  readonly entry: number;
}

class Sections {
  readonly #input: ByteSource;

  constructor(input: ByteSource) {
    this.#input = input;
  }

  async find(): Promise<RescuedCore | undefined> {
    const head = new Uint8Array(HEAD);
    const bytes = head.subarray(0, await readFully(this.#input, 0, head));
    const notesAt = findNotes(bytes);
    const stated = statedSections(bytes);
    const notes = notesAt === undefined ? undefined : this.#notes(bytes, notesAt);
    const names = await findNames(this.#input);
    let best: Geometry | undefined;
    for (const geometry of this.#candidates(stated, notes?.facts, notesAt, names)) {
      const score = await this.#score(geometry, stated, notes?.facts, notesAt, names);
      if (best === undefined || score > best.score) best = { ...geometry, score };
    }
    if (best === undefined || best.score < LEAST_AGREEING) return undefined;
    const { core, lost } = await this.#rebuilt(best, notesAt, notes?.facts);
    const shift = names === undefined ? 0 : names - core.frames.offset - core.frames.size;
    return { core, lost, ...(shift === 0 ? undefined : await movedTable(core, shift)) };
  }

  #notes(bytes: Uint8Array, at: number): { readonly facts: XenCoreFacts | undefined } {
    const notes: readonly ElfNote[] = salvageNotes(bytes.subarray(at, at + NOTES_SIZE), "little", at).notes;
    try {
      const facts = factsOf(this.#input, { offset: at }, notes);
      return { facts: facts.pageSize === PAGE ? facts : undefined };
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return { facts: undefined };
    }
  }

  /** Geometries that any of the numbers leads to. */
  *#candidates(
    stated: readonly Stated[],
    facts: XenCoreFacts | undefined,
    notesAt: number | undefined,
    names: number | undefined,
  ): Iterable<Omit<Geometry, "score">> {
    const { size } = this.#input;
    const entries = facts === undefined ? ([8, 16] as const) : ([facts.isPv ? 16 : 8] as const);
    const counts = new Set([
      ...(facts === undefined ? [] : [facts.pages]),
      ...stated.flatMap((one) =>
        one.entry === PAGE || one.entry === 8 || one.entry === 16 ? [one.size / one.entry] : [],
      ),
    ]);
    const starts = new Set(stated.map(({ offset }) => offset));
    if (notesAt !== undefined)
      for (const shared of [0, PAGE])
        starts.add(onPage(align8(notesAt + NOTES_SIZE) + (facts?.vcpus ?? 1) * pvContext64.size + shared));
    // nothing is left of the head: pages begin after it, and the names' place tells how many there are
    if (notesAt === undefined) for (let at = PAGE; at <= HEAD; at += PAGE) starts.add(at);
    const seen = new Set<string>();
    for (const entry of entries) {
      const pairs: [number, number][] = [...starts].flatMap((at) =>
        [...counts].map((n): [number, number] => [at, n]),
      );
      if (names !== undefined) {
        for (const at of starts) pairs.push([at, (names - at) / (PAGE + entry)]);
        for (const n of counts) pairs.push([names - n * (PAGE + entry), n]);
      }
      for (const [pagesAt, pages] of pairs) {
        const key = `${pagesAt} ${pages} ${entry}`;
        const isPossible =
          pagesAt >= PAGE && pagesAt % PAGE === 0 && Number.isInteger(pages) && pages > 0 && pagesAt < size;
        // a cut file has less than its numbers say
        if (!isPossible || seen.has(key) || pages > size) continue;
        seen.add(key);
        yield { pagesAt, pages, entry };
      }
    }
  }

  async #score(
    { pagesAt, pages, entry }: Omit<Geometry, "score">,
    stated: readonly Stated[],
    facts: XenCoreFacts | undefined,
    notesAt: number | undefined,
    names: number | undefined,
  ): Promise<number> {
    const framesAt = pagesAt + pages * PAGE;
    const end = framesAt + pages * entry;
    const isTable = await ascends(this.#input, framesAt, pages, entry);
    // the names' place fits what was counted back from it
    if (!isTable && facts === undefined) return 0;
    const says = (offset: number, size: number, each: number): number =>
      Math.max(
        0,
        ...stated.map(
          (one) => Number(one.offset === offset) + Number(one.size === size && one.entry === each),
        ),
      );
    const after = notesAt === undefined ? undefined : align8(notesAt + NOTES_SIZE);
    const room = after === undefined ? 0 : pagesAt - after - (facts?.vcpus ?? 1) * pvContext64.size;
    return (
      Number(facts?.pages === pages) +
      2 * Number(names === end) +
      says(pagesAt, pages * PAGE, PAGE) +
      says(framesAt, pages * entry, entry) +
      Number(after !== undefined && room >= 0 && room < 2 * PAGE) +
      2 * Number(isTable)
    );
  }

  async #rebuilt(
    { pagesAt, pages, entry, score }: Geometry,
    notesAt: number | undefined,
    stated: XenCoreFacts | undefined,
  ): Promise<RescuedCore> {
    const { size } = this.#input;
    const start = notesAt === undefined ? undefined : align8(notesAt + NOTES_SIZE);
    const room = start === undefined ? 0 : pagesAt - start;
    const vcpus = stated?.vcpus ?? Math.floor(room / pvContext64.size);
    const facts: XenCoreFacts = { isPv: entry === 16, vcpus, pages, pageSize: PAGE };
    const sections: ElfSection[] = [section(0, "", 0, 0, 0)];
    const add = (name: string, offset: number, length: number, each: number): void => {
      sections.push(section(sections.length, name, offset, length, each));
    };
    add(".note.Xen", notesAt ?? 0, notesAt === undefined ? 0 : NOTES_SIZE, 0);
    const states = Math.min(vcpus, Math.floor(room / pvContext64.size)) * pvContext64.size;
    if (start !== undefined) {
      add(".xen_prstatus", start, states, pvContext64.size);
      if (room - states >= PAGE) add(".xen_shared_info", align8(start + states), PAGE, PAGE);
    }
    add(".xen_pages", pagesAt, pages * PAGE, PAGE);
    add(entry === 16 ? ".xen_p2m" : ".xen_pfn", pagesAt + pages * PAGE, pages * entry, entry);
    const core = await readXenCore(this.#input, sections, facts);
    const lost: LostPart[] = [
      {
        start: 0,
        end: Math.min(size, notesAt ?? pagesAt),
        proof: score,
        what: "ELF header, section headers or names, made anew",
      },
    ];
    if (stated === undefined && notesAt !== undefined)
      lost.push({
        start: notesAt,
        end: notesAt + NOTES_SIZE,
        proof: score,
        what: "the header note, made anew",
      });
    return { core, lost };
  }
}

function section(index: number, name: string, offset: number, size: number, entrySize: number): ElfSection {
  const type = name === ".note.Xen" ? SHT_NOTE : SHT_PROGBITS;
  return { index, name, type, flags: 0n, address: 0n, offset, size, link: 0, info: 0, entrySize };
}

const align8 = (offset: number): number => roundUp(offset, 8);
const onPage = (offset: number): number => roundUp(offset, PAGE);

/** Where Xen's notes begin, after some section headers; undefined: no note of that name is there. */
function findNotes(head: Uint8Array): number | undefined {
  for (let count = 4; count <= 16; count += 1) {
    const at = ehdr64.size + count * shdr64.size;
    if (beginsWithNote(head.subarray(at), "little") && latin1(head.subarray(at + 12, at + 15)) === "Xen")
      return at;
  }
  return undefined;
}

/** What section headers after the ELF header say, each by itself. */
function statedSections(head: Uint8Array): readonly Stated[] {
  const view = viewOf(head);
  const found: Stated[] = [];
  for (let count = 1; count <= 16; count += 1) {
    const at = ehdr64.size + count * shdr64.size;
    if (at + shdr64.size > head.length) break;
    const number = (field: "sh_offset" | "sh_size" | "sh_entsize"): number =>
      Number(view.getBigUint64(at + shdr64.offsetOf(field), true));
    found.push({ offset: number("sh_offset"), size: number("sh_size"), entry: number("sh_entsize") });
  }
  return found;
}
