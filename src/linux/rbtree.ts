import type { Kernel } from "./kernel.js";
import { MOST_ENTRIES, offsetOf, Visited } from "./lists.js";
import { hex, LINUX_RULES, type OnTrouble } from "./rules.js";

/** Levels of a red-black tree of 2^48 nodes, and as many again. */
const DEEPEST = 128;

/**
 * Entries of a red-black tree in order: addresses of the structures of type `struct` whose member `member` (an
 * `rb_node`) links them. Damage is noted; what was reached before is given.
 *
 * @param root value of `rb_root.rb_node`; 0 for an empty tree.
 */
export async function* treeEntries(
  kernel: Kernel,
  root: bigint,
  struct: string,
  member: string,
  note: OnTrouble = kernel.note,
): AsyncGenerator<bigint> {
  const offset = offsetOf(kernel, struct, member);
  const node = kernel.struct("rb_node");
  const what = `tree of struct ${struct} at ${hex(root)}`;
  const visited = new Visited(kernel);
  const stack: { readonly at: bigint; readonly right: bigint }[] = [];
  let at = root;
  for (;;) {
    while (at !== 0n) {
      if (!(await visited.enter(at))) {
        note(LINUX_RULES.badStructure, `the ${what} runs in a loop after ${visited.size} nodes`);
        return;
      }
      if (stack.length >= DEEPEST || visited.size > MOST_ENTRIES) {
        note(LINUX_RULES.tooLong, `the ${what} is deeper or larger than any real one`);
        return;
      }
      const read = await kernel.tryLoad(node, at, note);
      if (read === undefined) break;
      stack.push({ at, right: read.pointer("rb_right") });
      at = read.pointer("rb_left");
    }
    const top = stack.pop();
    if (top === undefined) return;
    yield top.at - offset;
    at = top.right;
  }
}
