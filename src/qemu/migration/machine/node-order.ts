import { latin1 } from "../../../binary/layout.js";
import { sratMemory } from "./acpi-tables.js";
import { fieldOf, numberOf } from "../devices/devices.js";
import type { RamBlock } from "../ram/blocks.js";
import type { QevmStream } from "../stream.js";

/** Blocks in the order of their addresses. */
export interface NodeOrder {
  readonly order: readonly RamBlock[];
  /** What the order is known from; undefined: there is only one. */
  readonly evidence?: string;
}

/** Evidence of an order. */
export interface NodeFacts {
  /** Bytes of each cell as the domain's XML has them. */
  readonly cells: readonly number[] | undefined;
  /** RAM below 4 GiB. */
  readonly below: number;
  /** The machine's RAM in all, where the stream says. */
  readonly size: number | undefined;
  readonly tables: Uint8Array | undefined;
}

const FOUR_GIB = 2 ** 32;
/** Orders of more blocks than this are not tried one by one. */
const MOST_TRIED = 4;

/**
 * The memory backends of a machine's nodes in order, where content makes it certain: libvirt's names and cell sizes,
 * the ACPI SRAT's node sizes when no two are alike, or the one order that puts the VMCOREINFO note where it must be.
 * `blocks` may hold others (hot-plugged memory), which are left out when they can be distinguished from nodes.
 */
export async function orderOfNodes(
  stream: QevmStream,
  blocks: readonly RamBlock[],
  facts: NodeFacts,
): Promise<NodeOrder | undefined> {
  const { cells, size, tables, below } = facts;
  const fits = (found: NodeOrder | undefined): found is NodeOrder =>
    found !== undefined && (size === undefined || bytesOf(found.order) === size);
  const named = byCells(blocks, cells);
  if (fits(named)) return named;
  if (blocks.length === 1) return fits({ order: blocks }) ? { order: blocks } : undefined;
  const sized = tables === undefined ? undefined : bySrat(tables, blocks, below);
  if (fits(sized)) return sized;
  const whole = fits({ order: blocks });
  return whole ? byNote(stream, blocks, below) : undefined;
}

function bytesOf(blocks: readonly RamBlock[]): number {
  return blocks.reduce((sum, { length }) => sum + length, 0);
}

/** libvirt calls the backend of cell N `ram-nodeN`. */
function byCells(blocks: readonly RamBlock[], cells: readonly number[] | undefined): NodeOrder | undefined {
  if (cells === undefined || cells.length === 0) return undefined;
  const order = cells.map((size, i) =>
    blocks.find(({ name, length }) => name.replace("/objects/", "") === `ram-node${i}` && length === size),
  );
  return order.every((block) => block !== undefined)
    ? { order, evidence: "order of nodes from the domain's XML" }
    : undefined;
}

/** Nodes whose sizes no two of them share, each the size of one block. */
function bySrat(tables: Uint8Array, blocks: readonly RamBlock[], below: number): NodeOrder | undefined {
  // a node's entries leave out the old video window: what counts is where it begins and ends within RAM
  const nodes = new Map<number, { start: number; end: number }>();
  for (const { node, start, size, forHotPlug, nonVolatile } of sratMemory(tables)) {
    if (forHotPlug || nonVolatile) continue;
    const from = start >= FOUR_GIB && Number.isFinite(below) ? start - FOUR_GIB + below : start;
    const known = nodes.get(node);
    nodes.set(node, {
      start: Math.min(from, known?.start ?? from),
      end: Math.max(from + size, known?.end ?? 0),
    });
  }
  const sorted = [...nodes.values()].sort((a, b) => a.start - b.start);
  const isGapless = sorted.every(({ start }, i) => start === (sorted[i - 1]?.end ?? start));
  const sizes = sorted.map(({ start, end }) => end - start);
  if (sizes.length === 0 || !isGapless || new Set(sizes).size !== sizes.length) return undefined;
  const order = sizes.map((size) => blocks.filter(({ length }) => length === size));
  const single = order.flatMap((same) => (same.length === 1 ? same : []));
  return single.length === sizes.length
    ? { order: single, evidence: "order of nodes from the ACPI SRAT: no two are of one size" }
    : undefined;
}

/** The one order in which the address of the vmcoreinfo device points to a note. */
async function byNote(
  stream: QevmStream,
  blocks: readonly RamBlock[],
  below: number,
): Promise<NodeOrder | undefined> {
  const paddr = notePlace(stream);
  if (paddr === undefined || blocks.length > MOST_TRIED) return undefined;
  const offset = paddr >= FOUR_GIB && Number.isFinite(below) ? paddr - FOUR_GIB + below : paddr;
  const fitting: (readonly RamBlock[])[] = [];
  for (const order of permutations(blocks)) {
    let start = 0;
    const block = order.find(({ length }) => {
      start += length;
      return offset < start;
    });
    if (block === undefined) continue;
    const at = block.firstFrame * stream.pageSize + offset - (start - block.length);
    const head = new Uint8Array(24);
    const read = await stream.ram?.index.map.read(at, head);
    if (read === head.length && latin1(head.subarray(12, 22)) === "VMCOREINFO") fitting.push(order);
  }
  const [only] = fitting;
  return only !== undefined && fitting.length === 1
    ? { order: only, evidence: "order of nodes by the address of the VMCOREINFO note" }
    : undefined;
}

/** Guest-physical address of the note, as the guest gave it to the vmcoreinfo device. */
export function notePlace(stream: QevmStream): number | undefined {
  const device = stream.devices.find(({ name }) => name === "vmcoreinfo");
  if (device === undefined) return undefined;
  const number = (name: string): number | undefined => numberOf(fieldOf(device, name));
  const has = fieldOf(device, "has_vmcoreinfo");
  if (has !== true && has !== 1) return undefined;
  return number("vmcoreinfo.guest_format") === 1 ? number("vmcoreinfo.paddr") : undefined;
}

function* permutations<T>(items: readonly T[]): Iterable<readonly T[]> {
  if (items.length === 0) yield [];
  for (const [i, item] of items.entries())
    for (const rest of permutations(items.filter((_, k) => k !== i))) yield [item, ...rest];
}
