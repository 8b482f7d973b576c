import type { Kernel } from "./kernel.js";
import { MOST_ENTRIES, Visited } from "./lists.js";
import type { KernelObject } from "./object.js";
import { hex, LINUX_RULES, type OnTrouble } from "./rules.js";
import { findMember } from "./types.js";

/** A range of a maple tree: both ends inclusive. */
export interface MapleEntry {
  readonly first: bigint;
  readonly last: bigint;
  readonly value: bigint;
}

/** Node types in bits 3–6 of a pointer to a node (Linux, include/linux/maple_tree.h, enum maple_type). */
const DENSE = 0;
const LEAF = 1;

const ALLOCATION = 3;
/** Bytes of a node; pointers to nodes carry their type below. */
const NODE_MASK = 0xffn;
/** Internal entries (low bits 2) below this are no nodes. */
const FIRST_NODE = 4096n;
const DEEPEST = 32;
const MOST = (1n << 64n) - 1n;

/** Names of the member of `struct maple_node` that a node type uses. */
const PARTS: readonly (string | undefined)[] = [undefined, "mr64", "mr64", "ma64"];

/**
 * Entries of a maple tree, ascending, without its empty ranges. Damage is noted; what was reached is given.
 *
 * @param root value of `maple_tree.ma_root`.
 */
export async function* mapleEntries(
  kernel: Kernel,
  root: bigint,
  note: OnTrouble = kernel.note,
): AsyncGenerator<MapleEntry> {
  if (root === 0n) return;
  // a tree of one entry for index 0 holds it directly
  if ((root & 3n) !== 2n || root < FIRST_NODE) {
    yield { first: 0n, last: 0n, value: root };
    return;
  }
  yield* new MapleWalk(kernel, note, `maple tree at ${hex(root)}`).node(root, 0n, MOST, 0);
}

class MapleWalk {
  readonly kernel: Kernel;
  readonly note: OnTrouble;
  readonly what: string;
  readonly #visited: Visited;

  constructor(kernel: Kernel, note: OnTrouble, what: string) {
    this.kernel = kernel;
    this.#visited = new Visited(kernel);
    this.note = note;
    this.what = what;
  }

  async *node(pointer: bigint, min: bigint, max: bigint, depth: number): AsyncGenerator<MapleEntry> {
    const type = Number((pointer >> 3n) & 0xfn);
    const address = pointer & ~NODE_MASK;
    if (!(await this.#visited.enter(address)) || depth > DEEPEST || this.#visited.size > MOST_ENTRIES) {
      this.note(LINUX_RULES.badStructure, `the ${this.what} runs in a loop or is deeper than any real one`);
      return;
    }
    const node = await this.kernel.tryLoad("maple_node", address, this.note);
    if (node === undefined) return;
    const isLeaf = type <= LEAF;
    for (const { first, last, value } of this.#slots(node, type, min, max)) {
      if (value === 0n) continue;
      if (isLeaf) {
        if ((value & 3n) !== 2n || value >= FIRST_NODE) yield { first, last, value };
        continue;
      }
      yield* this.node(value, first, last, depth + 1);
    }
  }

  *#slots(node: KernelObject, type: number, min: bigint, max: bigint): Iterable<MapleEntry> {
    if (type === DENSE) {
      const count = findMember(node.type, "slot")?.type.count ?? 0;
      for (let i = 0; i < count && min + BigInt(i) <= max; i += 1)
        yield { first: min + BigInt(i), last: min + BigInt(i), value: node.pointer(`slot[${i}]`) };
      return;
    }
    const part = PARTS[type];
    if (type > ALLOCATION || part === undefined || !node.has(part)) {
      this.note(LINUX_RULES.badStructure, `the ${this.what} has a node of unknown type ${type}`);
      return;
    }
    const slots = findMember(node.type, `${part}.slot`)?.type.count ?? 0;
    const pivots = findMember(node.type, `${part}.pivot`)?.type.count ?? 0;
    let first = min;
    for (let i = 0; i < slots; i += 1) {
      const pivot = i < pivots ? node.pointer(`${part}.pivot[${i}]`) : 0n;
      // a pivot of zero after the first slot ends the node
      const last = i >= pivots || (pivot === 0n && i > 0) ? max : pivot;
      if (last < first || last > max) return;
      yield { first, last, value: node.pointer(`${part}.slot[${i}]`) };
      if (last === max) return;
      first = last + 1n;
    }
  }
}
