import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../src/guest/image.js";
import { readKernelBtf } from "../../src/linux/btf-find.js";
import { type Kernel, openKernel } from "../../src/linux/kernel.js";
import { listEntries } from "../../src/linux/lists.js";
import { treeEntries } from "../../src/linux/rbtree.js";
import { listTasks } from "../../src/linux/tasks.js";
import { listMappings } from "../../src/linux/user-mappings.js";
import { xarrayEntries } from "../../src/linux/xarray.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../shared.js";
import { described, openAny } from "./fixture.js";

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of from) all.push(one);
  return all;
}

const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");

describe.skipIf(noData)("structures of a whole guest (Linux 6.1)", () => {
  const place = scratch();
  let guest: GuestImage;
  let kernel: Kernel;

  beforeAll(async () => {
    guest = await openAny(unzstd(path.join(sharedData, "xen-v3/hvmlinux.save.zst"), place.folder));
    kernel = await openKernel(guest);
  }, 120_000);
  afterAll(async () => {
    await guest.close?.();
    place.cleanup();
  });

  it("a red-black tree has the entries of the list that the kernel keeps beside it", async () => {
    const tree: bigint[] = [];
    const root = await kernel.pointerAt(kernel.needSymbol("vmap_area_root"));
    for await (const area of treeEntries(kernel, root, "vmap_area", "rb_node")) tree.push(area);
    const list: bigint[] = [];
    for await (const area of listEntries(kernel, kernel.needSymbol("vmap_area_list"), "vmap_area", "list"))
      list.push(area);
    expect(tree.length).toBeGreaterThan(20);
    expect(tree).toEqual(list);
  });

  it("the xarray of pids has the pids of all tasks", async () => {
    const namespace = await kernel.object("init_pid_ns");
    const pids: number[] = [];
    for await (const { index } of xarrayEntries(kernel, namespace.pointer("idr.idr_rt.xa_head")))
      pids.push(index);
    const tasks: number[] = [];
    for await (const { pid } of listTasks(kernel, { threads: true })) tasks.push(pid);
    expect(pids).toEqual(tasks.toSorted((a, b) => a - b));
  });

  it("the maple tree of a process has as many mappings as the kernel counts, apart and ascending", async () => {
    let checked = 0;
    for await (const task of listTasks(kernel)) {
      if (task.mm === 0n) continue;
      const count = (await kernel.load("mm_struct", task.mm)).number("map_count");
      const mappings = await collect(listMappings(kernel, task.mm));
      expect(mappings.length).toBe(count);
      for (const [i, { start, end }] of mappings.entries()) {
        expect(start).toBeLessThan(end);
        expect(start).toBeGreaterThanOrEqual(mappings[i - 1]?.end ?? 0n);
      }
      expect(mappings.some(({ file }) => file === "/bin/busybox")).toBe(true);
      checked += 1;
    }
    expect(checked).toBeGreaterThan(3);
  });

  it("kallsyms found by its shape is the one that VMCOREINFO names", async () => {
    const bare = await openKernel(described(guest, (text) => text.replaceAll(/^.*kallsyms.*\n/gm, "")));
    expect(bare.symbols?.size).toBe(kernel.symbols?.size);
    expect([...(bare.symbols ?? [])]).toEqual([...(kernel.symbols ?? [])]);
  });

  it("BTF found by search is the one between its symbols", async () => {
    const found = await readKernelBtf(kernel.space, kernel.info, undefined);
    const known = await readKernelBtf(kernel.space, kernel.info, kernel.symbols);
    expect(found.endId).toBe(known.endId);
    expect(found.endId).toBe(95_247);
  });
});
