import { describe, expect, it } from "vitest";
import type { Kernel } from "../../../src/linux/kernel.js";
import { KernelObject } from "../../../src/linux/object.js";
import type { KernelType } from "../../../src/linux/types.js";
import { recoverer } from "../../../src/linux/unwind/tracer.js";

const LONG: KernelType = {
  kind: "int",
  name: "unsigned long",
  size: 8,
  signed: false,
  count: 0,
  target: () => undefined,
  members: () => [],
  enumerators: () => [],
};

/** A structure of longs, or of what is named, one after another. */
function structure(name: string, members: readonly (string | readonly [string, KernelType])[]): KernelType {
  let offset = 0;
  const list = members.map((member) => {
    const [memberName, type] = typeof member === "string" ? [member, LONG] : member;
    const bitOffset = offset * 8;
    offset += type.size;
    return { name: memberName, bitOffset, type };
  });
  return { ...LONG, kind: "struct", name, size: offset, members: () => list };
}

const pointer = (target: KernelType): KernelType => ({
  ...LONG,
  kind: "pointer",
  name: "",
  target: () => target,
});
const NODE = structure("llist_node", ["next"]);
const HOOK = structure("rethook_node", ["data", ["llist", NODE], "ret_addr", "frame"]);
const RETURN = structure("ftrace_ret_stack", ["ret", "func", "calltime", "retp"]);
const taskOf = (array: KernelType): KernelType =>
  structure("task_struct", [
    "curr_ret_stack",
    ["ret_stack", pointer(array)],
    ["rethooks", structure("", ["first"])],
  ]);

const HANDLER = 0xffff_ffff_8107_0000n;
const TRAMPOLINE = 0xffff_ffff_8107_0100n;
const TASK = 0xffff_8880_0100_0000n;
const DATA = 0xffff_8880_0200_0000n;
const SLOT = 0xffff_c900_0000_3e80n;
const REAL = 0xffff_ffff_8112_3456n;

/** A kernel whose memory is the task's words and those at DATA. */
function kernelOf(task: readonly bigint[], data: readonly bigint[], array: KernelType): Kernel {
  const types: Record<string, KernelType> = {
    task_struct: taskOf(array),
    ftrace_ret_stack: RETURN,
    rethook_node: HOOK,
  };
  const read = (va: bigint, into: Uint8Array): number => {
    const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
    for (let at = 0; at + 8 <= into.length; at += 8) {
      const words = va >= DATA ? data : task;
      view.setBigUint64(at, words[Number(va - (va >= DATA ? DATA : TASK)) / 8 + at / 8] ?? 0n, true);
    }
    return into.length;
  };
  const starts = new Map([
    ["return_to_handler", HANDLER],
    ["arch_rethook_trampoline", TRAMPOLINE],
  ]);
  const struct = (name: string): KernelType => types[name] ?? LONG;
  const load = async (type: KernelType | string, address: bigint): Promise<KernelObject> => {
    const known = typeof type === "string" ? struct(type) : type;
    const bytes = new Uint8Array(known.size);
    read(address, bytes);
    return new KernelObject({ load }, known, address, bytes);
  };
  const kernel: Pick<Kernel, "symbol" | "place" | "struct"> & {
    load: typeof load;
    space: { read: typeof read };
  } = {
    symbol: (name) => starts.get(name),
    place: (address) => {
      for (const [name, start] of starts)
        if (address >= start && address < start + 64n)
          return { name, offset: Number(address - start), size: 64 };
      return undefined;
    },
    struct,
    load,
    space: { read },
  };
  return kernel as unknown as Kernel;
}

/** Entries of the function graph tracer: return address, function, time, place. */
const entry = (ret: bigint, place: bigint): bigint[] => [ret, 0n, 0n, place];

describe("return addresses that tracers replaced", () => {
  it("are left alone where they are none", async () => {
    const recover = recoverer(kernelOf([], [], RETURN), TASK);
    expect(await recover(REAL, SLOT)).toBe(REAL);
  });

  it("are in the function graph tracer's array, the tracer's own passed over", async () => {
    const data = [...entry(1n, SLOT + 8n), ...entry(REAL, SLOT), ...entry(HANDLER, SLOT), ...entry(2n, SLOT)];
    // the last one in use has number 2: what is after it is left over
    const recover = recoverer(kernelOf([2n, DATA], data, RETURN), TASK);
    expect(await recover(HANDLER, SLOT)).toBe(REAL);
    await expect(recover(HANDLER, SLOT - 64n)).rejects.toThrow(/is a tracer's, 0xffffffff81070000$/);
  });

  it("are in the words of newer kernels' arrays, wherever entries begin", async () => {
    const data = [7n, ...entry(REAL, SLOT), 9n, 9n];
    const recover = recoverer(kernelOf([6n, DATA], data, LONG), TASK);
    expect(await recover(HANDLER, SLOT)).toBe(REAL);
  });

  it("are in the task's list of probes, and behind both in either order", async () => {
    const hooks = (ret: bigint): bigint[] => [0n, DATA + 40n, 5n, SLOT + 8n, 0n, 0n, ret, SLOT];
    const probed = recoverer(kernelOf([0n, 0n, DATA + 8n], hooks(REAL), RETURN), TASK);
    expect(await probed(TRAMPOLINE + 4n, SLOT)).toBe(REAL);
    const both = [...hooks(HANDLER), ...entry(REAL, SLOT)];
    const recover = recoverer(kernelOf([0n, DATA + 64n, DATA + 8n], both, RETURN), TASK);
    expect(await recover(TRAMPOLINE, SLOT)).toBe(REAL);
  });

  it("end with a sentence where lists loop or the two refer to each other", async () => {
    const loop = recoverer(kernelOf([0n, 0n, DATA + 8n], [0n, DATA + 8n, 5n, 5n], RETURN), TASK);
    await expect(loop(TRAMPOLINE, SLOT)).rejects.toThrow(/is a tracer's/);
    const hook = [0n, 0n, HANDLER, SLOT, ...entry(TRAMPOLINE, SLOT)];
    const each = recoverer(kernelOf([0n, DATA + 32n, DATA + 8n], hook, RETURN), TASK);
    await expect(each(TRAMPOLINE, SLOT)).rejects.toThrow(/is a tracer's/);
    await expect(recoverer(kernelOf([], [], RETURN), undefined)(HANDLER, SLOT)).rejects.toThrow(
      /is a tracer's/,
    );
  });
});
