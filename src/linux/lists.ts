import type { MaybePromise } from "../io/byte-source.js";
import type { Kernel } from "./kernel.js";
import { readU64 } from "./read.js";
import { hex, LINUX_RULES, type OnTrouble } from "./rules.js";
import { findMember } from "./types.js";

/** Entries of a list that are followed. */
export const MOST_ENTRIES = 1 << 20;

/** Places already met, so that loops end. */
export class Visited {
  readonly #kernel: Kernel;
  readonly #seen = new Set<number>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /**
   * Goes to a node. False when its memory was met before, by this address or another (page tables may map memory many
   * times), and when all walks together took more steps than the guest's memory can hold nodes.
   */
  enter(address: bigint): MaybePromise<boolean> {
    const place = this.#kernel.space.translate(address);
    return place instanceof Promise
      ? place.then((gpa) => this.#add(address, gpa))
      : this.#add(address, place);
  }

  #add(address: bigint, gpa: number | undefined): boolean {
    // addresses of kernel memory differ in their lower 52 bits
    const key = gpa ?? -1 - Number(BigInt.asUintN(52, address));
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return this.#kernel.step();
  }

  get size(): number {
    return this.#seen.size;
  }
}

/**
 * Entries of a `list_head` list, in order: addresses of the structures of type `struct` whose member `member` links
 * them. A list that loops, ends or leads nowhere is noted and left.
 *
 * @param head address of the list's head, which is no entry.
 */
export async function* listEntries(
  kernel: Kernel,
  head: bigint,
  struct: string,
  member: string,
  note: OnTrouble = kernel.note,
): AsyncGenerator<bigint> {
  const offset = offsetOf(kernel, struct, member);
  yield* chain(kernel, head, `list of struct ${struct} at ${hex(head)}`, note, (node) => node - offset);
}

/** Entries of an `hlist_head` list: as listEntries, ended by NULL. `head` is the address of its first pointer. */
export async function* hlistEntries(
  kernel: Kernel,
  head: bigint,
  struct: string,
  member: string,
  note: OnTrouble = kernel.note,
): AsyncGenerator<bigint> {
  const offset = offsetOf(kernel, struct, member);
  const what = `list of struct ${struct} at ${hex(head)}`;
  for await (const node of chain(kernel, head, what, note, (at) => at, 0n)) yield node - offset;
}

/** Bytes from the start of a structure to a member. @throws AbsentError `linux/type/absent` */
export function offsetOf(kernel: Kernel, struct: string, member: string): bigint {
  const type = kernel.struct(struct);
  const place = findMember(type, member);
  if (place === undefined) throw kernel.noMember(struct, member);
  return BigInt(place.bitOffset >>> 3);
}

/** Follows first words from `head` until `end` (or `head` itself). */
async function* chain(
  kernel: Kernel,
  head: bigint,
  what: string,
  note: OnTrouble,
  entry: (node: bigint) => bigint,
  end = head,
): AsyncGenerator<bigint> {
  const visited = new Visited(kernel);
  let at = head;
  for (;;) {
    const next = await readU64(kernel.space, at);
    if (next === undefined) {
      note(
        LINUX_RULES.memory,
        `the ${what} breaks off after ${visited.size} entries: ${await kernel.space.whyUnreadable(at)}`,
      );
      return;
    }
    if (next === end) return;
    if (next === 0n) {
      note(LINUX_RULES.badStructure, `the ${what} ends in NULL after ${visited.size} entries`);
      return;
    }
    if (!(await visited.enter(next))) {
      note(LINUX_RULES.badStructure, `the ${what} runs in a loop after ${visited.size} entries`);
      return;
    }
    if (visited.size > MOST_ENTRIES) {
      note(LINUX_RULES.tooLong, `the ${what} has more than ${MOST_ENTRIES} entries`);
      return;
    }
    yield entry(next);
    at = next;
  }
}
