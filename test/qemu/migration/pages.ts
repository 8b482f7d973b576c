import type { GuestImage } from "../../../src/guest/image.js";

const PAGE = 4096;

/** All pages of a guest's memory, by address. */
export async function readPages({ memory }: GuestImage): Promise<Map<number, Buffer>> {
  const pages = new Map<number, Buffer>();
  for (const { start, end, presence } of memory.ranges()) {
    if (presence === "absent") continue;
    for (let at = start; at < end; at += PAGE) {
      const page = Buffer.alloc(PAGE);
      if ((await memory.read(at, page)) === PAGE) pages.set(at, page);
    }
  }
  return pages;
}

/** Addresses of pages that are others than they were, or that there were none of. */
export const wrongPages = (
  found: ReadonlyMap<number, Buffer>,
  pages: ReadonlyMap<number, Buffer>,
): number[] => [...found].flatMap(([at, page]) => (pages.get(at)?.equals(page) === true ? [] : [at]));
