import type { Kernel } from "./kernel.js";
import { readUpTo } from "./read.js";
import { absent, LINUX_RULES } from "./rules.js";

/** How the kernel used the guest's memory, in bytes, as /proc/meminfo counts it. */
export interface MemoryUse {
  readonly total: number;
  readonly free: number;
  /** Pages of files. */
  readonly cached?: number;
  readonly anonymous?: number;
  readonly swapTotal?: number;
  readonly swapFree?: number;
}

/**
 * Reads the kernel's counters of memory. What CPUs have not added to them yet is left out, as in /proc/meminfo.
 *
 * @throws AbsentError when the kernel's symbols are missing.
 */
export async function memoryUse(kernel: Kernel): Promise<MemoryUse> {
  const page = Number(kernel.info.get("PAGESIZE") ?? 4096);
  const counter = async (symbol: string, index = 0): Promise<number | undefined> => {
    const address = kernel.symbol(symbol);
    if (address === undefined || index < 0) return undefined;
    const bytes = await readUpTo(kernel.space, address + BigInt(index * 8), 8);
    if (bytes.length < 8) return undefined;
    const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigInt64(0, true);
    return Math.max(0, Number(value)) * page;
  };
  const node = (name: string): number => indexOf(kernel, "node_stat_item", name);
  const total = (await counter("_totalram_pages")) ?? (await counter("totalram_pages"));
  const free = await counter("vm_zone_stat", Math.max(0, indexOf(kernel, "zone_stat_item", "NR_FREE_PAGES")));
  if (total === undefined || free === undefined)
    throw absent(
      LINUX_RULES.noSymbol,
      "the kernel's counters of memory (_totalram_pages, vm_zone_stat) are not known",
    );
  const known = {
    cached: await counter("vm_node_stat", node("NR_FILE_PAGES")),
    anonymous: await counter("vm_node_stat", node("NR_ANON_MAPPED")),
    swapTotal: await counter("total_swap_pages"),
    swapFree: await counter("nr_swap_pages"),
  };
  return { total, free, ...withoutUndefined(known) };
}

/** Number of an enumerator in this kernel; -1 when it has none by that name. */
function indexOf(kernel: Kernel, type: string, name: string): number {
  const found = kernel.types
    ?.find("enum", type)
    ?.enumerators()
    .find((enumerator) => enumerator.name === name);
  return found === undefined ? -1 : Number(found.value);
}

function withoutUndefined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
