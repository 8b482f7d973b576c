import { AbsentError, FormatError } from "../../findings/errors.js";
import { viewOf } from "../../binary/layout.js";
import type { Kernel } from "../kernel.js";
import { absent, hex } from "../rules.js";
import { findMember } from "../types.js";
import { LINUX_STACK_RULES } from "./rules.js";
import type { Recover } from "./x86.js";

/** Code that tracers put in the place of return addresses: function graph, kretprobes and fprobes. */
const GRAPH = ["return_to_handler"];
const RETHOOK = ["arch_rethook_trampoline", "__kretprobe_trampoline", "kretprobe_trampoline"];
/** Bytes that a trampoline has at most. */
const TRAMPOLINE = 512n;
/** Return addresses that a task can have replaced at once, and bytes of the array they are in. */
const MOST_HOOKS = 512;
const MOST_RETURNS = 16384;
const MOST_TRACERS = 4;

/** Says the real return address where a tracer's is on the stack. */
export function recoverer(kernel: Kernel, task: bigint | undefined): Recover {
  const starts = (names: readonly string[]): bigint[] => names.flatMap((name) => kernel.symbol(name) ?? []);
  const isIn = (list: readonly bigint[], address: bigint): boolean =>
    list.some(
      (start) =>
        address >= start &&
        address < start + TRAMPOLINE &&
        kernel.place(address)?.offset === Number(address - start),
    );
  let graph: readonly bigint[] | undefined;
  let hooks: readonly bigint[] | undefined;
  return async (address, slot) => {
    graph ??= starts(GRAPH);
    hooks ??= starts(RETHOOK);
    let here = address;
    // both may have been at work on one place, in either order
    for (let left = MOST_TRACERS; left > 0; left -= 1) {
      const find = isIn(graph, here) ? graphReturn : isIn(hooks, here) ? hookReturn : undefined;
      if (find === undefined) return here;
      const at = here;
      const real = task === undefined ? undefined : await quietly(() => find(kernel, task, slot, at));
      if (real === undefined) break;
      here = real;
    }
    throw absent(LINUX_STACK_RULES.tracer, `the return address at ${hex(slot)} is a tracer's, ${hex(here)}`);
  };
}

async function quietly(get: () => Promise<bigint | undefined>): Promise<bigint | undefined> {
  try {
    return await get();
  } catch (error) {
    if (error instanceof AbsentError || error instanceof FormatError) return undefined;
    throw error;
  }
}

/**
 * Out of the function graph tracer's array, whose entries say which place on the stack they are of. Where a function
 * was left by a jump to another one, both have the place, and the later entry has the tracer's own address.
 */
async function graphReturn(
  kernel: Kernel,
  task: bigint,
  slot: bigint,
  handler: bigint,
): Promise<bigint | undefined> {
  const object = await kernel.load("task_struct", task);
  const entry = kernel.struct("ftrace_ret_stack");
  const ret = findMember(entry, "ret");
  const place = findMember(entry, "retp");
  const array = findMember(object.type, "ret_stack");
  if (array === undefined || ret === undefined || place === undefined) return undefined;
  // entries of one size until 6.10, of several kinds after that: each word is looked at, up to the last one in use
  const top = object.number("curr_ret_stack");
  const used = array.type.target()?.kind === "struct" ? (top + 1) * entry.size : top * 8;
  const bytes = new Uint8Array(Math.max(0, Math.min(used, MOST_RETURNS)));
  const n = await kernel.space.read(object.pointer("ret_stack"), bytes);
  const view = viewOf(bytes);
  const back = (place.bitOffset - ret.bitOffset) / 8;
  for (let at = Math.max(0, back); at + 8 <= n; at += 8) {
    if (view.getBigUint64(at, true) !== slot || at - back + 8 > n) continue;
    const real = view.getBigUint64(at - back, true);
    if (real !== handler) return real;
  }
  return undefined;
}

/** Out of the task's list of return addresses that probes replaced (since Linux 5.18). */
async function hookReturn(kernel: Kernel, task: bigint, slot: bigint): Promise<bigint | undefined> {
  const object = await kernel.load("task_struct", task);
  if (!object.has("rethooks.first")) return undefined;
  const link = findMember(kernel.struct("rethook_node"), "llist");
  let at = object.pointer("rethooks.first");
  if (link === undefined) return undefined;
  for (let left = MOST_HOOKS; left > 0 && at !== 0n; left -= 1) {
    const node = await kernel.load("rethook_node", at - BigInt(link.bitOffset >>> 3));
    if (node.pointer("frame") === slot) return node.pointer("ret_addr");
    at = node.pointer("llist.next");
  }
  return undefined;
}
