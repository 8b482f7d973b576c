import { AbsentError, FormatError } from "../../io/errors.js";
import { viewOf } from "../../binary/layout.js";
import type { Kernel } from "../kernel.js";
import { absent, hex } from "../rules.js";
import { findMember } from "../types.js";
import { STACK_RULES } from "./rules.js";
import type { Recover } from "./x86.js";

/** Code that tracers put in the place of return addresses: function graph, kretprobes and fprobes. */
const GRAPH = ["return_to_handler"];
const RETHOOK = ["arch_rethook_trampoline", "__kretprobe_trampoline", "kretprobe_trampoline"];
/** Bytes that a trampoline has at most. */
const TRAMPOLINE = 512n;
/** Return addresses that a task can have replaced at once, and bytes of the array they are in. */
const MOST_HOOKS = 512;
const SHADOW_STACK = 4096;

/** Tells the real return address where a tracer's is on the stack. */
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
    const isGraph = isIn(graph, address);
    if (!isGraph && !isIn(hooks, address)) return address;
    const real =
      task === undefined
        ? undefined
        : await quietly(() => (isGraph ? graphReturn(kernel, task, slot) : hookReturn(kernel, task, slot)));
    if (real !== undefined) return real;
    throw absent(STACK_RULES.tracer, `the return address at ${hex(slot)} is a tracer's, ${hex(address)}`);
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

/** Out of the function graph tracer's array, whose entries say which place on the stack they are of. */
async function graphReturn(kernel: Kernel, task: bigint, slot: bigint): Promise<bigint | undefined> {
  const object = await kernel.load("task_struct", task);
  const entry = kernel.struct("ftrace_ret_stack");
  const ret = findMember(entry, "ret");
  const place = findMember(entry, "retp");
  if (!object.has("ret_stack") || ret === undefined || place === undefined) return undefined;
  const bytes = new Uint8Array(SHADOW_STACK);
  const n = await kernel.space.read(object.pointer("ret_stack"), bytes);
  const view = viewOf(bytes);
  // entries are of one size until 6.10 and have others between them after that: each word is looked at
  const back = (place.bitOffset - ret.bitOffset) / 8;
  for (let at = Math.max(0, back); at + 8 <= n; at += 8) {
    if (view.getBigUint64(at, true) === slot && at - back + 8 <= n) return view.getBigUint64(at - back, true);
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
