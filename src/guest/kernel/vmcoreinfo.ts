import { trimNuls } from "../../binary/text.js";
import { latin1, latin1Bytes, viewOf } from "../../binary/layout.js";
import { ALIGNMENT, alignmentOf, roundUp } from "../../io/alignment.js";
import { yieldToEventLoop } from "../../io/event-loop.js";
import { readInHalves } from "../../io/halves.js";
import { indexOfBytes } from "../../io/byte-search.js";
import type { Architecture } from "../arch/architecture.js";
import type { VmcoreInfo } from "../image.js";
import { PAGE_SIZE, type PhysicalMemory } from "../memory.js";
import { fitsMemory, hasTablesRead, kernelTextMapping } from "./kernel-layout.js";
import { pagesPointedAt, runsAnotherKernel } from "./running-kernel.js";
import type { Vcpu } from "../vcpu.js";
import { isVmcoreInfo } from "./vmcoreinfo-text.js";

export { isVmcoreInfo, parseVmcoreInfo } from "./vmcoreinfo-text.js";

/**
 * What a Linux kernel says of itself in its memory: VMCOREINFO, the mapping of its text, its banner.
 *
 * The kernel keeps VMCOREINFO twice, each copy at the start of a page: as an ELF note (name size 11, text
 * size, type 0, `VMCOREINFO\0`, text from byte 24) and as the text itself, which begins with `OSRELEASE=`.
 */

/** Bytes read at a time: FileSource answers these at once. */
const SWEEP = 64 << 10;
/** Bytes read at a time where they are in one piece in a source. */
const LONG_SWEEP = 8 << 20;
/** The event loop turns every so many reads: a source may answer at once, again and again. */
const READS_PER_TURN = 256;
const BYTES_PER_TURN = 16 << 20;
const NAME_SIZE = 11;
const NOTE_TEXT = 24;
const LONGEST_TEXT = 64 << 10;
/** Copies whose kernel is looked for: memory made to hold many more must not cost hours. */
const MOST_CHECKED = 32;
/** `OSRE`, little endian. */
const OSRE = 0x4552_534f;
/** `VMCO`, little endian. */
const VMCO = 0x4f43_4d56;

/**
 * Finds VMCOREINFO in guest memory: the first copy whose text is right and, for x86_64, whose kernel is
 * mapped where the text says (memory may keep the one of a kernel that ran before). With `vcpus` a running
 * x86_64 kernel is asked first, and all of the memory is read only when there may be one that didn't answer;
 * unless `thorough`, not even then.
 */
export async function findVmcoreInfo(
  memory: PhysicalMemory,
  arch: Architecture,
  vcpus: readonly Vcpu[] = [],
  thorough = true,
): Promise<VmcoreInfo | undefined> {
  const choice = new VmcoreInfoCandidates(memory, arch);
  for await (const gpa of candidates(memory, arch, vcpus, thorough)) if (await choice.consider(gpa)) break;
  return choice.best;
}

/** Pages that begin like VMCOREINFO, and the best of them so far: see findVmcoreInfo. */
export class VmcoreInfoCandidates {
  readonly #memory: PhysicalMemory;
  readonly #arch: Architecture;
  #best: VmcoreInfo | undefined;
  #checked = 0;

  constructor(memory: PhysicalMemory, arch: Architecture) {
    this.#memory = memory;
    this.#arch = arch;
  }

  /** The first whose kernel is in memory, else the first whose text is right. */
  get best(): VmcoreInfo | undefined {
    return this.#best;
  }

  /** Looks at the page at a guest-physical address; true: no other page matters. @throws FormatError damaged pages */
  async consider(gpa: number): Promise<boolean> {
    const text = await textAt(this.#memory, this.#arch, gpa);
    if (text === undefined) return false;
    const found: VmcoreInfo = { text, gpa };
    if (!hasTablesRead(this.#arch) || (await fitsMemory(this.#memory, text, this.#arch)) === true) {
      this.#best = found;
      return true;
    }
    this.#best ??= found;
    this.#checked += 1;
    return this.#checked === MOST_CHECKED;
  }
}

/** Pages whose first bytes may be VMCOREINFO. */
async function* candidates(
  memory: PhysicalMemory,
  arch: Architecture,
  vcpus: readonly Vcpu[],
  thorough: boolean,
): AsyncGenerator<number> {
  const isX86 = arch.name === "x86_64";
  if (isX86) {
    const head = new Uint8Array(NOTE_TEXT);
    for await (const gpa of pagesPointedAt(memory, vcpus))
      if ((await memory.read(gpa, head)) === NOTE_TEXT && isHead(viewOf(head), 0, true)) yield gpa;
  }
  if (thorough && !(isX86 && (await runsAnotherKernel(memory, vcpus)))) yield* sweep(memory, arch);
}

/** As `candidates`, by a look at every page. */
async function* sweep(memory: PhysicalMemory, arch: Architecture): AsyncGenerator<number> {
  let buffer = new Uint8Array(SWEEP + ALIGNMENT);
  let view = viewOf(buffer);
  const little = arch.order === "little";
  let bytes = 0;
  let reads = 0;
  for (const range of memory.ranges()) {
    if (range.presence !== "present") continue;
    const first = roundUp(range.start, PAGE_SIZE);
    for (let at = first, part = SWEEP; at < range.end; at += part) {
      // pages that lie apart are not worth reading whole
      const piece = memory.contiguous?.(at, LONG_SWEEP);
      part = memory.contiguous === undefined ? SWEEP : wholePages(piece?.length ?? 0);
      if (part < SWEEP) part = PAGE_SIZE;
      if (part > SWEEP && buffer.length <= SWEEP + ALIGNMENT) {
        buffer = new Uint8Array(LONG_SWEEP + ALIGNMENT);
        view = viewOf(buffer);
      }
      const start = piece === undefined ? 0 : alignmentOf(piece.source, piece.offset);
      const most = part === PAGE_SIZE ? NOTE_TEXT : Math.min(range.end - at, part);
      const result = readInHalves(memory, at, buffer.subarray(start, start + most));
      const n = result instanceof Promise ? await result : result;
      for (let page = 0; page + NOTE_TEXT <= n; page += PAGE_SIZE)
        if (isHead(view, start + page, little)) yield at + page;
      reads += 1;
      bytes += part;
      if (reads % READS_PER_TURN === 0 || bytes >= BYTES_PER_TURN) {
        bytes = 0;
        await yieldToEventLoop();
      }
    }
  }
}

const wholePages = (bytes: number): number => bytes - (bytes % PAGE_SIZE);

/**
 * Guest-physical addresses of the pages that begin like VMCOREINFO, or may, as their first bytes are the last: of memory
 * at `gpa`.
 */
export function* pagesLikeVmcoreInfo(
  gpa: number,
  bytes: Uint8Array,
  order: Architecture["order"],
): Generator<number, void, undefined> {
  const view = viewOf(bytes);
  const little = order === "little";
  for (let at = (PAGE_SIZE - (gpa % PAGE_SIZE)) % PAGE_SIZE; at < bytes.length; at += PAGE_SIZE)
    if (at + NOTE_TEXT > bytes.length || isHead(view, at, little)) yield gpa + at;
}

/** Whether a page begins like a note or a text of VMCOREINFO. */
function isHead(view: DataView, at: number, little: boolean): boolean {
  const word = view.getUint32(at, little);
  return word === NAME_SIZE ? view.getUint32(at + 12, true) === VMCO : isText(view, at);
}

const isText = (view: DataView, at: number): boolean => view.getUint32(at, true) === OSRE;

/** The text of a note or of the text page at `gpa`, if it is right. */
async function textAt(memory: PhysicalMemory, arch: Architecture, gpa: number): Promise<string | undefined> {
  const head = new Uint8Array(NOTE_TEXT);
  if ((await memory.read(gpa, head)) < NOTE_TEXT) return undefined;
  const view = viewOf(head);
  const little = arch.order === "little";
  if (!isHead(view, 0, little)) return undefined;
  if (isText(view, 0)) {
    const bytes = new Uint8Array(LONGEST_TEXT);
    const n = await memory.read(gpa, bytes);
    const end = bytes.subarray(0, n).indexOf(0);
    return validText(bytes.subarray(0, end === -1 ? n : end));
  }
  const size = view.getUint32(4, little);
  if (view.getUint32(8, little) !== 0 || size > LONGEST_TEXT) return undefined;
  if (latin1(head.subarray(12, 12 + NAME_SIZE)) !== "VMCOREINFO\0") return undefined;
  const bytes = new Uint8Array(size);
  if ((await memory.read(gpa + NOTE_TEXT, bytes)) < size) return undefined;
  return validText(bytes);
}

function validText(bytes: Uint8Array): string | undefined {
  const text = trimNuls(latin1(bytes));
  return isVmcoreInfo(text) ? text : undefined;
}

const LONGEST_BANNER = 512;
const BANNER = latin1Bytes("Linux version ");
/** Memory searched for a banner when nothing says where the kernel is. */
const SEARCH_LIMIT = 4 * 2 ** 30;

/**
 * `Linux version …` as the kernel prints it first: from its image if that is known, else from a search through
 * memory, unless `vcpus` show that another kernel ran.
 */
export async function kernelBanner(
  memory: PhysicalMemory,
  arch: Architecture,
  vmcoreInfo?: VmcoreInfo,
  vcpus: readonly Vcpu[] = [],
): Promise<string | undefined> {
  const image = vmcoreInfo === undefined ? [] : await kernelTextMapping(memory, vmcoreInfo.text, arch);
  for (const { gpa, length } of image) {
    const banner = await searchBanner(memory, gpa, gpa + length);
    if (banner !== undefined) return banner;
  }
  if (arch.name === "x86_64" && (await runsAnotherKernel(memory, vcpus))) return undefined;
  let left = SEARCH_LIMIT;
  for (const range of memory.ranges()) {
    if (range.presence !== "present" || left <= 0) continue;
    const end = Math.min(range.end, range.start + left);
    const banner = await searchBanner(memory, range.start, end);
    if (banner !== undefined) return banner;
    left -= end - range.start;
  }
  return undefined;
}

async function searchBanner(memory: PhysicalMemory, start: number, end: number): Promise<string | undefined> {
  const buffer = new Uint8Array(SWEEP);
  let reads = 0;
  // sweeps overlap, so that a banner across their border is seen whole
  for (let at = start; at < end; at += SWEEP - LONGEST_BANNER) {
    const result = memory.read(at, buffer.subarray(0, Math.min(SWEEP, end - at)));
    const n = result instanceof Promise ? await result : result;
    const bytes = buffer.subarray(0, n);
    for (let hit = indexOfBytes(bytes, BANNER, 0); hit !== -1; hit = indexOfBytes(bytes, BANNER, hit + 1)) {
      const banner = bannerAt(bytes, hit);
      if (banner !== undefined) return banner;
    }
    reads += 1;
    if (reads % READS_PER_TURN === 0) await yieldToEventLoop();
  }
  return undefined;
}

function bannerAt(bytes: Uint8Array, at: number): string | undefined {
  const text = latin1(bytes.subarray(at, at + LONGEST_BANNER));
  // release, (builder), (compiler), #build
  return /^Linux version \d+\.\d+[\x20-\x7e]*\([\x20-\x7e]+ #\d[\x20-\x7e]*/.exec(text)?.[0].trimEnd();
}
