import { absentReasons } from "../../../guest/absent.js";
import type { RamIndex, RamIndexOptions } from "./index.js";

/** How often a page of each sort came. */
export interface PageCounts {
  plain: number;
  zero: number;
  xbzrle: number;
  compressed: number;
}

/** One run through memory: addresses ascend within it. A live migration makes many. */
export interface Round extends PageCounts {
  /** Section it began in. */
  readonly section: number;
  readonly offset: number;
}

/** One block of guest RAM, ROM or video memory. */
export interface RamBlock {
  readonly name: string;
  /** Bytes in use. */
  readonly length: number;
  /** Frame of its first page in the index. */
  readonly firstFrame: number;
  readonly pages: number;
  /** Guest address of its region, given with x-ignore-shared. */
  readonly address?: number;
  readonly hostPageSize?: number;
  /** Places of a mapped-ram file, in bytes from the start of the input; that of the bitmap may be lost. */
  readonly mapped?: {
    readonly bitmapOffset?: number;
    readonly pagesOffset: number;
    readonly present: number;
  };
  readonly counts: PageCounts & { again: number };
}

/** Name of a block whose own is lost with the record that named it. */
export const NAMELESS = "(its name is lost)";

/** Bytes of a bitmap in a mapped-ram file: words of a 64-bit host, a bit a page. */
export const mappedBitmapSize = (pages: number): number => Math.ceil(pages / 64) * 8;

/** Pages that come beside the stream. */
export interface PagesBeside {
  /** Puts pages into the index that came before the channels met for the `meetings`-th time; all by default. */
  settle(blocks: ReadonlyMap<string, RamBlock>, index: RamIndex, meetings?: number): Promise<void>;
  /** Gives blocks of which nothing was sent the contents of their files. To be called after the last `settle`. */
  takeBackings(blocks: ReadonlyMap<string, RamBlock>, index: RamIndex): void;
}

export interface RamOptions extends Omit<RamIndexOptions, "pageSize"> {
  readonly pageSize: number;
  readonly ignoreShared: boolean;
  readonly mappedRam: boolean;
  readonly beside?: PagesBeside | undefined;
  /** Decompress every compressed page at once, to know which are damaged. */
  readonly checkCompressed: boolean;
  /** Where the stream begins in its input. */
  readonly streamStart: number;
  /** Where a record can't be right, reading of it ends, so that it can go on after the damage. */
  readonly salvage: boolean;
  /** A host page size may be in the block list: postcopy was announced. */
  readonly postcopy: boolean;
}

/** Why a page that was sent has no content. */
export const LOST = absentReasons({
  delta: { kind: "damaged", text: "lost: its difference is damaged" },
  base: { kind: "damaged", text: "lost: its difference has no page to apply to" },
  order: {
    kind: "damaged",
    text: "lost: its address is out of order, so another page's contents may be there",
  },
  stale: { kind: "damaged", text: "lost: a difference before its last one may be in a damaged part" },
  zlib: { kind: "damaged", text: "lost: its compressed data are damaged" },
  cut: { kind: "truncated", text: "lost: it is beyond the end of the file" },
  channel: { kind: "damaged", text: "lost: the compressed data of its multifd channel are damaged" },
});

/** Pages of a block by what the index knows of them. */
export interface BlockPages {
  readonly present: number;
  readonly zero: number;
  readonly lost: number;
  /** Never sent. */
  readonly missing: number;
}

/** Counts all blocks in one walk over the index. */
export function countPages(
  { blocks, index }: { readonly blocks: readonly RamBlock[]; readonly index: RamIndex },
  pageSize: number,
): Map<RamBlock, BlockPages> {
  const counts = new Map<RamBlock, { present: number; zero: number; lost: number; missing: number }>();
  for (const block of blocks) counts.set(block, { present: 0, zero: 0, lost: 0, missing: block.pages });
  let at = 0;
  index.flush();
  for (const range of index.map.ranges()) {
    let start = range.start / pageSize;
    const end = range.end / pageSize;
    while (start < end) {
      let block = blocks[at];
      while (block !== undefined && block.firstFrame + block.pages <= start) block = blocks[(at += 1)];
      if (block === undefined) break;
      const stop = Math.min(end, block.firstFrame + block.pages);
      const count = counts.get(block);
      if (count !== undefined) {
        count[range.presence === "absent" ? "lost" : range.presence] += stop - start;
        count.missing -= stop - start;
      }
      start = stop;
    }
  }
  return counts;
}
