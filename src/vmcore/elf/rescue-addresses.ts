import { PT_LOAD } from "../../elf/layout.js";
import type { ByteSource } from "../../io/byte-source.js";
import type { MemorySegment } from "../segments.js";
import { contradictions } from "./overlaps.js";
import type { WeighedHeader } from "./rescue-contents.js";
import type { RawHeader } from "./rescue-header.js";

/*
 * The physical address of a header is said again by its virtual one, which is as far from it as in the others; by its
 * neighbours, where its memory is just the room between theirs; and by what it can't be: within another's memory, not
 * at a page, beyond any machine.
 */

const PAGE = 4096n;
const BEYOND = 2n ** 52n;
/** Pairs whose contents are compared. */
const MOST_COMPARED = 16;
/** Suspects that are asked for at all: more are another writer's way, or a hostile one's. */
const MOST_SUSPECTS = 256;
/** Where x86 Linux maps its own image: as far from memory as it likes. */
const IMAGE_64 = 0xffff_ffff_8000_0000n;
/** Where no kernel of 32 or 64 bits maps memory: addresses that a dump repeats as they are. */
const LOW_HALF = 2n ** 31n;
/** Direct maps of all memory begin at such a boundary. */
const DIRECT_MAP = 2n ** 30n;
const shiftOf = ({ virtual, physical }: RawHeader): bigint => BigInt.asUintN(64, virtual - physical);

/** Mends physical addresses and lengths in memory, and gives up those that can't be what is stated. */
export async function weighAddresses(source: ByteSource, weighed: readonly WeighedHeader[]): Promise<void> {
  const rows = weighed.filter(
    ({ isLost, isAlias, header }) => !isLost && !isAlias && header.type === PT_LOAD && header.memorySize > 0,
  );
  mendMemorySizes(rows);
  await new Addresses(source, rows).mend();
}

function mendMemorySizes(rows: readonly WeighedHeader[]): void {
  const unequal = rows.filter(({ header }) => header.fileSize !== header.memorySize);
  const isOdd = unequal.length === 1 && rows.length > 2;
  for (const row of unequal) {
    const { physical, memorySize, fileSize } = row.header;
    if (fileSize === 0 || !(isOdd || physical + BigInt(memorySize) > BEYOND)) continue;
    row.header.memorySize = fileSize;
    row.changed.add("p_memsz");
  }
}

class Addresses {
  readonly #source: ByteSource;
  readonly #rows: readonly WeighedHeader[];
  readonly #shift: bigint | undefined;
  readonly #isAligned: boolean;

  constructor(source: ByteSource, rows: readonly WeighedHeader[]) {
    this.#source = source;
    this.#rows = rows;
    this.#shift = commonShift(rows);
    const aligned = rows.filter(({ header }) => header.physical % PAGE === 0n);
    this.#isAligned = aligned.length * 2 > rows.length;
  }

  async mend(): Promise<void> {
    const suspects = new Set(this.#rows.filter((row) => isUnsaid(row) || this.#isOdd(row.header)));
    for (const row of await this.#contradicted(suspects)) suspects.add(row);
    if (suspects.size > MOST_SUSPECTS) {
      for (const row of suspects) row.isLost = true;
      return;
    }
    const believed = this.#rows.filter((row) => !suspects.has(row));
    const taken = believed.map(({ header }) => header).sort((a, b) => order(a.physical, b.physical));
    for (const row of suspects) {
      const { header } = row;
      const found = this.#candidates(row, suspects).filter((at) => this.#isFree(taken, at, header));
      const [first, second] = new Set(found);
      if (first === undefined || second !== undefined) {
        row.isLost = true;
        if (first !== undefined)
          row.why = `its addresses speak for 0x${first.toString(16)} and 0x${second?.toString(16)}`;
        continue;
      }
      if (header.physical !== first) row.changed.add("p_paddr");
      header.physical = first;
      taken.push(header);
      taken.sort((a, b) => order(a.physical, b.physical));
    }
  }

  /** Whether something speaks against a header's physical address. */
  #isOdd(header: RawHeader): boolean {
    const { physical, virtual, memorySize } = header;
    if (physical + BigInt(memorySize) > BEYOND) return header.offset < this.#source.size;
    if (this.#isAligned && physical % PAGE !== 0n) return true;
    if (this.#shift === undefined && this.#rows.length === 1)
      return virtual !== 0n && virtual < LOW_HALF && virtual !== physical;
    return this.#shift !== undefined && virtual < IMAGE_64 && shiftOf(header) !== this.#shift;
  }

  /** Addresses that a header's memory may be at, those first that more speaks for. */
  #candidates(row: WeighedHeader, suspects: ReadonlySet<WeighedHeader>): bigint[] {
    const { header } = row;
    const { physical, virtual, memorySize } = header;
    const at = this.#rows.indexOf(row);
    const [before, after] = [this.#rows[at - 1], this.#rows[at + 1]];
    const between: bigint[] = [];
    if (before !== undefined && after !== undefined && !suspects.has(before) && !suspects.has(after)) {
      const end = before.header.physical + BigInt(before.header.memorySize);
      if (after.header.physical - end === BigInt(memorySize)) between.push(end);
    }
    if (between.length > 0 || isUnsaid(row)) return between;
    const shift = this.#shift ?? (this.#rows.length === 1 ? 0n : undefined);
    const shifted = shift === undefined ? [] : [BigInt.asUintN(64, virtual - shift)];
    return [physical, ...shifted];
  }

  /** Whether memory can be at an address: of no other header, at a page, within a machine. `taken` ascend. */
  #isFree(taken: readonly RawHeader[], at: bigint, { memorySize }: RawHeader): boolean {
    const end = at + BigInt(memorySize);
    if (end > BEYOND || (this.#isAligned && at % PAGE !== 0n)) return false;
    return !taken.some((other) => other.physical < end && at < other.physical + BigInt(other.memorySize));
  }

  /** Of headers that claim the same memory with other contents those that something else speaks against. */
  async #contradicted(suspects: ReadonlySet<WeighedHeader>): Promise<readonly WeighedHeader[]> {
    const sorted = this.#rows
      .filter((row) => !suspects.has(row) && row.header.fileSize > 0)
      .sort((a, b) => order(a.header.physical, b.header.physical));
    const inOrder = ascending(this.#rows.filter((row) => !suspects.has(row)));
    const found: WeighedHeader[] = [];
    let [reached] = sorted;
    for (const row of sorted.slice(1)) {
      if (reached === undefined) break;
      const end = reached.header.physical + BigInt(reached.header.fileSize);
      const culprit = row.header.physical < end ? culpritOf(reached, row, inOrder) : undefined;
      if (culprit !== undefined && found.length < MOST_COMPARED) {
        const pair = [reached, row].map(({ header }) => segmentOf(header, this.#source));
        if ((await contradictions(this.#source, pair)).length > 0) found.push(culprit);
      }
      if (row.header.physical + BigInt(row.header.fileSize) > end) reached = row;
    }
    return found;
  }
}

/** Whether zeros are all that is left of a header's addresses: they agree with each other. */
function isUnsaid({ header, stated, changed }: WeighedHeader): boolean {
  if (header.physical !== 0n || header.virtual !== 0n) return false;
  const isZeroed = stated.offset === 0 || stated.type === 0;
  return isZeroed || (changed.has("p_filesz") && changed.has("p_memsz"));
}

/** Of two that claim the same memory the one that something else speaks against. */
function culpritOf(
  one: WeighedHeader,
  other: WeighedHeader,
  inOrder: ReadonlySet<WeighedHeader>,
): WeighedHeader | undefined {
  const [a, b] = [one.changed.size > 0, other.changed.size > 0];
  if (a !== b) return a ? one : other;
  if (inOrder.has(one) === inOrder.has(other)) return undefined;
  return inOrder.has(one) ? other : one;
}

const order = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

function segmentOf(header: RawHeader, source: ByteSource): MemorySegment & { readonly index: number } {
  const { index, offset, fileSize, memorySize } = header;
  const there = Math.max(0, Math.min(fileSize, source.size - offset));
  return { index, physical: Number(header.physical), offset, fileSize, there, memorySize };
}

/** How far virtual addresses are from physical ones, where most headers agree. */
function commonShift(rows: readonly WeighedHeader[]): bigint | undefined {
  const counts = new Map<bigint, number>();
  for (const { header } of rows) {
    if (header.virtual >= IMAGE_64 || header.physical > BEYOND) continue;
    // zeros agree with zeros
    if (header.virtual !== 0n || header.physical !== 0n)
      counts.set(shiftOf(header), (counts.get(shiftOf(header)) ?? 0) + 1);
  }
  const [best, second] = [...counts].sort((a, b) => b[1] - a[1] || roundness(b[0]) - roundness(a[0]));
  if (best === undefined || (best[1] < 2 && roundness(best[0]) === 0)) return undefined;
  // of two that as much speaks for neither is known
  if (second?.[1] === best[1] && roundness(second[0]) === roundness(best[0])) return undefined;
  const others = [...counts.values()].reduce((sum, count) => sum + count, 0) - best[1];
  return others <= Math.max(1, rows.length / 16) ? best[0] : undefined;
}

/** How likely a shift is by itself: none, then that of a direct map. */
const roundness = (shift: bigint): number => (shift === 0n ? 2 : shift % DIRECT_MAP === 0n ? 1 : 0);

/** The most rows whose physical addresses ascend in the order of the table; none where most don't. */
function ascending(rows: readonly WeighedHeader[]): ReadonlySet<WeighedHeader> {
  /** Index of the row that ends the best sequence of each length, and each row's predecessor. */
  const ends: number[] = [];
  const before = new Int32Array(rows.length).fill(-1);
  for (const [i, { header }] of rows.entries()) {
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((rows[ends[middle] ?? 0]?.header.physical ?? 0n) < header.physical) low = middle + 1;
      else high = middle;
    }
    before[i] = low > 0 ? (ends[low - 1] ?? -1) : -1;
    ends[low] = i;
  }
  const found = new Set<WeighedHeader>();
  if (rows.length < 3 || ends.length * 4 < rows.length * 3 - 3) return found;
  for (let i = ends.at(-1) ?? -1; i >= 0; i = before[i] ?? -1) {
    const row = rows[i];
    if (row !== undefined) found.add(row);
  }
  return found;
}
