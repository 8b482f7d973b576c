import { latin1, viewOf } from "../../binary/layout.js";
import { fieldOf, numberOf } from "./devices.js";
import type { DomainMemory } from "./machine-map.js";
import type { RamBlock } from "./ram.js";
import type { QevmStream } from "./stream.js";

/** Blocks in the order of their addresses, and what that is known from. */
export interface NodeOrder {
  readonly order: readonly RamBlock[];
  readonly evidence: string;
}

const FOUR_GIB = 2 ** 32;
/** Orders of more blocks than this are not tried one by one. */
const MOST_TRIED = 4;
const LARGEST_TABLES = 4 << 20;

/**
 * The order of NUMA nodes' memory backends, where content makes it certain: libvirt's names and cell sizes, the
 * ACPI SRAT's node sizes when no two are alike, or the one order that puts the VMCOREINFO note where it must be.
 */
export async function orderOfNodes(
  stream: QevmStream,
  blocks: readonly RamBlock[],
  domain: DomainMemory,
  below: number,
): Promise<NodeOrder | undefined> {
  return byCells(blocks, domain) ?? (await bySrat(stream, blocks, below)) ?? byNote(stream, blocks, below);
}

/** libvirt calls the backend of cell N `ram-nodeN`. */
function byCells(blocks: readonly RamBlock[], { cells }: DomainMemory): NodeOrder | undefined {
  if (cells === undefined || cells.length !== blocks.length) return undefined;
  const order = cells.map((size, i) =>
    blocks.find(({ name, length }) => name.replace("/objects/", "") === `ram-node${i}` && length === size),
  );
  return order.every((block) => block !== undefined)
    ? { order, evidence: "order of nodes from the domain's XML" }
    : undefined;
}

async function bySrat(
  stream: QevmStream,
  blocks: readonly RamBlock[],
  below: number,
): Promise<NodeOrder | undefined> {
  const tables = stream.ram?.blocks.find(({ name }) => name === "/rom@etc/acpi/tables");
  if (tables === undefined || tables.length > LARGEST_TABLES) return undefined;
  const bytes = new Uint8Array(tables.length);
  const read = await stream.ram?.index.map.read(tables.firstFrame * stream.pageSize, bytes);
  if (read !== bytes.length) return undefined;
  const sizes = sratSizes(bytes, below);
  if (sizes === undefined || sizes.length !== blocks.length || new Set(sizes).size !== sizes.length)
    return undefined;
  const order = sizes.map((size) => blocks.filter(({ length }) => length === size));
  const single = order.flatMap((same) => (same.length === 1 ? same : []));
  return single.length === blocks.length
    ? { order: single, evidence: "order of nodes from the ACPI SRAT: no two are of one size" }
    : undefined;
}

/** Sizes of the nodes' memory in address order; undefined unless they cover RAM without gaps. */
function sratSizes(bytes: Uint8Array, below: number): number[] | undefined {
  const view = viewOf(bytes);
  for (let at = 0; at + 48 <= bytes.length; at += 1) {
    if (bytes[at] !== 0x53 || latin1(bytes.subarray(at, at + 4)) !== "SRAT") continue;
    const length = view.getUint32(at + 4, true);
    if (length < 48 || at + length > bytes.length) continue;
    // the guest's firmware sets the checksum later: the table's form must do
    const nodes = new Map<number, { start: number; end: number }>();
    for (let entry = at + 48; entry + 2 <= at + length; entry += Math.max(2, bytes[entry + 1] ?? 2)) {
      if (bytes[entry] !== 1 || bytes[entry + 1] !== 40 || entry + 40 > at + length) continue;
      const node = view.getUint32(entry + 2, true);
      const base = view.getUint32(entry + 8, true) + view.getUint32(entry + 12, true) * FOUR_GIB;
      const size = view.getUint32(entry + 16, true) + view.getUint32(entry + 20, true) * FOUR_GIB;
      const flags = view.getUint32(entry + 28, true);
      // enabled, and there from the start
      if ((flags & 1) === 0 || (flags & 2) !== 0 || size === 0) continue;
      const start = base >= FOUR_GIB && Number.isFinite(below) ? base - FOUR_GIB + below : base;
      const known = nodes.get(node);
      nodes.set(node, {
        start: Math.min(start, known?.start ?? start),
        end: Math.max(start + size, known?.end ?? 0),
      });
    }
    const sorted = [...nodes.values()].sort((a, b) => a.start - b.start);
    const gapless = sorted.every(({ start }, i) => start === (sorted[i - 1]?.end ?? sorted[0]?.start));
    if (sorted.length > 0 && gapless) return sorted.map(({ start, end }) => end - start);
  }
  return undefined;
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
    ? { order: only, evidence: "order of nodes by where the VMCOREINFO note lies" }
    : undefined;
}

/** Guest-physical address of the note that the vmcoreinfo device was told, where the guest told one. */
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
