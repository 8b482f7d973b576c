import type { Kernel } from "./kernel.js";
import { MOST_ENTRIES, Visited } from "./lists.js";
import { hex, LINUX_RULES, type OnTrouble } from "./rules.js";
import { findMember, type KernelType } from "./types.js";

/** An entry of an xarray (a radix tree before Linux 4.20). */
export interface XarrayEntry {
  readonly index: number;
  /** A pointer, or a value as the kernel encodes it (bit 0 set). */
  readonly value: bigint;
}

/** Marks of entries: the low two bits. 2: internal, a node or a sign of the array itself. */
const INTERNAL = 2n;
/** Internal entries below this are signs (retry, zero, siblings), not nodes. */
const FIRST_NODE = 4096n;
const DEEPEST = 16;

/**
 * Entries of an xarray (`struct xarray`) or radix tree, ascending. Damage is noted; what was reached is given.
 *
 * @param head value of `xa_head` (`rnode` before 4.20).
 */
export async function* xarrayEntries(
  kernel: Kernel,
  head: bigint,
  note: OnTrouble = kernel.note,
): AsyncGenerator<XarrayEntry> {
  const types = kernel.needTypes();
  const xaNode = types.find("struct", "xa_node");
  const node = xaNode ?? kernel.struct("radix_tree_node");
  const internal = xaNode === undefined ? 1n : INTERNAL;
  const walk = new XarrayWalk(
    kernel,
    node,
    internal,
    note,
    `${xaNode === undefined ? "radix tree" : "xarray"} at ${hex(head)}`,
  );
  yield* walk.entries(head, 0, 0);
}

class XarrayWalk {
  readonly kernel: Kernel;
  readonly node: KernelType;
  readonly internal: bigint;
  readonly note: OnTrouble;
  readonly what: string;
  readonly #visited: Visited;
  readonly #slots: number;

  constructor(kernel: Kernel, node: KernelType, internal: bigint, note: OnTrouble, what: string) {
    this.kernel = kernel;
    this.#visited = new Visited(kernel);
    this.node = node;
    this.internal = internal;
    this.note = note;
    this.what = what;
    const slots = findMember(node, "slots")?.type.count ?? 0;
    this.#slots = Math.min(slots, 64);
  }

  async *entries(entry: bigint, index: number, depth: number): AsyncGenerator<XarrayEntry> {
    if (entry === 0n) return;
    if ((entry & 3n) !== this.internal) {
      yield { index, value: entry };
      return;
    }
    const address = entry & ~3n;
    if (address < FIRST_NODE) return;
    if (!(await this.#visited.enter(address)) || depth > DEEPEST || this.#visited.size > MOST_ENTRIES) {
      this.note(LINUX_RULES.badStructure, `the ${this.what} runs in a loop or is deeper than any real one`);
      return;
    }
    const node = await this.kernel.tryLoad(this.node, address, this.note);
    if (node === undefined) return;
    const shift = node.number("shift");
    if (shift > 60) {
      this.note(LINUX_RULES.badStructure, `the ${this.what} has a node with shift ${shift}`);
      return;
    }
    for (let i = 0; i < this.#slots; i += 1)
      yield* this.entries(node.pointer(`slots[${i}]`), index + i * 2 ** shift, depth + 1);
  }
}
