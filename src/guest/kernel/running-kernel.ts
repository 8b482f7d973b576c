import { viewOf } from "../../binary/layout.js";
import { CachedMemory } from "../cached-memory.js";
import { PAGE_SIZE, type PhysicalMemory } from "../memory.js";
import { lookUp, type Mapping, mappings, type Paging, pagingOf, translate } from "../paging/walk.js";
import type { Vcpu } from "../vcpu.js";

/**
 * What the vCPUs' own page tables say of an x86_64 Linux kernel, without a look at all of the memory. Every
 * such kernel maps its image into one gigabyte of virtual memory, its modules after that (Linux,
 * Documentation/arch/x86/x86_64/mm.rst).
 */
export const KERNEL_MAP = 0xffff_ffff_8000_0000n;
const IMAGE_BITS = 30;
const IMAGE_END = KERNEL_MAP + (1n << BigInt(IMAGE_BITS));

/** Bytes read at a time. */
const WINDOW = 64 << 10;
/** Bounds for tables that lie: top tables that are followed, bytes of an image, pointers in it. */
const MOST_TOP_TABLES = 8;
const MOST_IMAGE = 256 << 20;
const MOST_POINTERS = 1 << 16;

/**
 * Pages that a running kernel's image points at, from its data, as a kernel does at what it allocated for good:
 * guest-physical addresses, ascending for each top table. None where the vCPUs map no such image.
 */
export async function* pagesPointedAt(
  memory: PhysicalMemory,
  vcpus: readonly Vcpu[],
): AsyncGenerator<number> {
  const tables = new CachedMemory(memory);
  for (const paging of kernelTables(vcpus)) {
    const image = await mappings(memory, paging, KERNEL_MAP, IMAGE_END);
    const places: number[] = [];
    const pages = [...(await pagePointers(memory, image))].sort((a, b) => a - b);
    // most words that look like a pointer are none: where one leads nowhere, its neighbours do too
    let nothingUntil = 0;
    for (const page of pages) {
      if (page < nothingUntil) continue;
      const looked = lookUp(tables, paging, BigInt(page) * BigInt(PAGE_SIZE));
      const found = looked instanceof Promise ? await looked : looked;
      if (found === undefined) continue;
      if ("gpa" in found) places.push(found.gpa);
      else {
        const span = 2 ** found.unmapped / PAGE_SIZE;
        nothingUntil = Math.floor(page / span) * span + span;
      }
    }
    yield* places.sort((a, b) => a - b);
  }
}

/** Top tables in long mode that may map the kernel. */
function* kernelTables(vcpus: readonly Vcpu[]): Iterable<Paging> {
  const seen = new Set<number>();
  for (const paging of longModes(vcpus)) {
    // with page-table isolation a program's top table is the odd page after the kernel's
    const isOdd = (paging.root / PAGE_SIZE) % 2 === 1;
    for (const root of isOdd ? [paging.root - PAGE_SIZE, paging.root] : [paging.root]) {
      if (seen.has(root)) continue;
      if (seen.size === MOST_TOP_TABLES) return;
      seen.add(root);
      yield { ...paging, root };
    }
  }
}

function longModes(vcpus: readonly Vcpu[]): readonly (Paging & { readonly rip: bigint })[] {
  return vcpus.flatMap(({ registers }) => {
    if (registers?.kind !== "x86") return [];
    const paging = pagingOf(registers);
    return paging.mode === "long" ? [{ ...paging, rip: registers.general.rip }] : [];
  });
}

/** Words of an image that are addresses of pages in the upper half, other than the image's own: page numbers. */
async function pagePointers(memory: PhysicalMemory, image: readonly Mapping[]): Promise<ReadonlySet<number>> {
  const pages = new Set<number>();
  const buffer = new Uint8Array(WINDOW);
  const view = viewOf(buffer);
  let left = MOST_IMAGE;
  for (const { gpa, length } of image) {
    for (let at = 0; at < length && left > 0; ) {
      const part = buffer.subarray(0, Math.min(WINDOW, length - at));
      const result = memory.read(gpa + at, part);
      const n = result instanceof Promise ? await result : result;
      addPointers(view, n, pages);
      if (pages.size > MOST_POINTERS) return pages;
      // after what is absent it goes on with the next page
      at += n === part.length ? n : n - (n % PAGE_SIZE) + PAGE_SIZE;
      left -= part.length;
    }
  }
  return pages;
}

/** Adds the page numbers of page addresses in the upper half among the first `length` bytes. */
function addPointers(view: DataView, length: number, pages: Set<number>): void {
  for (let word = 0; word + 8 <= length; word += 8) {
    // upper half: byte 7 all ones
    const high = view.getInt32(word + 4, true);
    if (high >> 24 !== -1 || high === -1) continue;
    const low = view.getInt32(word, true);
    if ((low & 0xfff) === 0) pages.add((high >>> 0) * 2 ** 20 + (low >>> 12));
  }
}

/**
 * Whether the vCPUs certainly ran no x86_64 Linux kernel: at least one was in long mode, and none of those
 * maps anything where its image would be. Tables that don't map the vCPU's own code are those of a nested
 * guest, and say nothing.
 */
export async function runsAnotherKernel(memory: PhysicalMemory, vcpus: readonly Vcpu[]): Promise<boolean> {
  const all = longModes(vcpus);
  for (const paging of all) {
    if ((await translate(memory, paging, paging.rip)) === undefined) return false;
    const found = await lookUp(memory, paging, KERNEL_MAP);
    if (found === undefined || "gpa" in found || found.unmapped < IMAGE_BITS) return false;
  }
  return all.length > 0;
}
