import { AbsentError } from "../../findings/errors.js";
import { cpuList } from "../cpus.js";
import type { Kernel } from "../kernel.js";
import { listEntries, offsetOf } from "../lists.js";
import { listModules, useModuleSymbols } from "../modules.js";
import { treeEntries } from "../rbtree.js";
import { readU32, readU64 } from "../read.js";
import { listTasks, type Task } from "../tasks.js";
import { taskStack } from "../unwind/stacks.js";

/** What an area of the kernel's virtual memory is. */
export type AreaUse =
  | { readonly kind: "symbol" }
  | { readonly kind: "per-cpu"; readonly cpu: number; readonly offset: bigint }
  | { readonly kind: "stack"; readonly task: Task }
  | { readonly kind: "vmalloc"; readonly caller: bigint };

/** An area of the kernel's virtual memory, `end` exclusive. */
export interface KernelArea {
  readonly start: bigint;
  readonly end: bigint;
  readonly use: AreaUse;
  /** It was there before the kernel's allocators: pages that they have now were given back, and are no more of it. */
  readonly fromBoot: boolean;
}

const MOST_IMAGE = 1n << 30n;
/** Bytes of one CPU's variables, and of one area of vmalloc(). */
const MOST_PER_CPU = 1 << 28;
const MOST_AREA = 1n << 38n;
/** Bytes of all areas of vmalloc(): what a damaged list claims must not be walked without end. */
const MOST_AREAS = 1n << 42n;
/** Lists of areas, one a CPU. */
const MOST_NODES = 8192;
/** VM_ALLOC and VM_MAP: areas of RAM, not of devices (Linux, include/linux/vmalloc.h). */
const IN_RAM = 6n;

/**
 * Areas that have names: the kernel's image, its modules, the variables of each CPU, stacks of tasks, areas of vmalloc(), in this
 * order. What is missing leaves the others.
 */
export async function* kernelAreas(kernel: Kernel): AsyncGenerator<KernelArea> {
  for (const part of [image, modules, perCpu, stacks, vmallocAreas])
    try {
      yield* part(kernel);
    } catch (error) {
      if (!(error instanceof AbsentError)) throw error;
    }
}

async function* image(kernel: Kernel): AsyncGenerator<KernelArea> {
  const start = kernel.symbol("_text") ?? kernel.symbol("_stext");
  const end = kernel.symbol("_end");
  if (start !== undefined && end !== undefined && end > start && end - start < MOST_IMAGE)
    yield { start, end, use: { kind: "symbol" }, fromBoot: true };
}

async function* modules(kernel: Kernel): AsyncGenerator<KernelArea> {
  await useModuleSymbols(kernel);
  for (const { ranges } of await listModules(kernel))
    for (const { start, end } of ranges) yield { start, end, use: { kind: "symbol" }, fromBoot: false };
}

/** The first chunk of per-CPU memory, with the variables that have names at its start. */
async function* perCpu(kernel: Kernel): AsyncGenerator<KernelArea> {
  const first = kernel.needSymbol("__per_cpu_start");
  const symbol = kernel.symbol("pcpu_unit_size");
  const unit = symbol === undefined ? undefined : await readU32(kernel.space, symbol);
  const size = unit === undefined || unit > MOST_PER_CPU ? kernel.needSymbol("__per_cpu_end") - first : unit;
  for (const { cpu } of await cpuList(kernel)) {
    const offset = await kernel.perCpuOffset(cpu);
    const start = BigInt.asUintN(64, first + offset);
    yield { start, end: start + BigInt(size), use: { kind: "per-cpu", cpu, offset }, fromBoot: true };
  }
}

async function* stacks(kernel: Kernel): AsyncGenerator<KernelArea> {
  for await (const task of listTasks(kernel, { threads: true, idle: true })) {
    const span = await taskStack(kernel, task.address);
    if (span !== undefined)
      yield { start: span.low, end: span.high, use: { kind: "stack", task }, fromBoot: false };
  }
}

async function* vmallocAreas(kernel: Kernel): AsyncGenerator<KernelArea> {
  let left = MOST_AREAS;
  for await (const address of areaAddresses(kernel)) {
    const area = await kernel.tryLoad("vmap_area", address);
    if (area === undefined || area.pointer("vm") === 0n) continue;
    const start = area.pointer("va_start");
    const end = area.pointer("va_end");
    const vm = await kernel.tryLoad("vm_struct", area.pointer("vm"));
    if (vm === undefined || (vm.pointer("flags") & IN_RAM) === 0n) continue;
    if (end <= start || end - start > MOST_AREA) continue;
    left -= end - start;
    if (left < 0n) return;
    yield { start, end, use: { kind: "vmalloc", caller: vm.pointer("caller") }, fromBoot: false };
  }
}

/** Addresses of vmap_area structures: in one list until Linux 6.8, since then in a tree for each CPU or so. */
async function* areaAddresses(kernel: Kernel): AsyncGenerator<bigint> {
  const list = kernel.symbol("vmap_area_list");
  if (list !== undefined) {
    yield* listEntries(kernel, list, "vmap_area", "list");
    return;
  }
  const nodes = await kernel.pointerAt(kernel.needSymbol("vmap_nodes"));
  const count = (await readU32(kernel.space, kernel.needSymbol("nr_vmap_nodes"))) ?? 0;
  const size = BigInt(kernel.struct("vmap_node").size);
  const root = offsetOf(kernel, "vmap_node", "busy.root.rb_node");
  for (let i = 0; i < Math.min(count, MOST_NODES); i += 1) {
    const top = await readU64(kernel.space, nodes + BigInt(i) * size + root);
    if (top !== undefined) yield* treeEntries(kernel, top, "vmap_area", "rb_node");
  }
}
