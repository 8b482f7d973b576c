import { PAGE_SIZE } from "../guest/memory.js";
import type { PageMap } from "../guest/page-map.js";
import { XEN_ABSENT } from "./domain.js";

/**
 * Marks pages that no record names, and whose records the lost bytes may have held, as absent. Longer runs are holes in
 * the guest's address space.
 */
export function markLostPages(memory: PageMap, bytes: number): void {
  const most = bytes / PAGE_SIZE;
  const gaps: { first: number; count: number }[] = [];
  let last = 0;
  for (const { start, end } of memory.ranges()) {
    const count = (start - last) / PAGE_SIZE;
    if (count > 0 && count <= most) gaps.push({ first: last / PAGE_SIZE, count });
    last = end;
  }
  for (const { first, count } of gaps) memory.absent(first, count, XEN_ABSENT.lost);
}
