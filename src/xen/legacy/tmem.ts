import type { Cursor } from "./cursor.js";
import { TMEM_HEAD, TMEM_OID_SIZE, TMEM_POOL } from "./layout.js";
import { LEGACY_RULES } from "./rules.js";

/** A pool of transcendent memory as its stream describes it. */
export interface TmemPool {
  readonly id: number;
  readonly flags: number;
  readonly persistent: boolean;
  /** Bytes of one of its pages. */
  readonly pageSize: number;
  /** Pages announced at most. */
  readonly announced: number;
  /** Pages really in the stream. */
  readonly pages: number;
}

const LIST_END = 0xffffffff;
/** Pools of which descriptions are kept; no hypervisor had more than 16 a client. */
const POOLS_KEPT = 4096;

/** Reads a tmem chunk after its id, skipping the pages. */
export async function readTmem(cursor: Cursor): Promise<TmemPool[]> {
  const start = cursor.position;
  await cursor.need(TMEM_HEAD.size, "tmem chunk");
  const head = TMEM_HEAD.read(cursor.reader.view, cursor.reader.at, "little");
  cursor.reader.take(TMEM_HEAD.size);
  if (head.mark1 !== LIST_END || head.mark2 !== LIST_END) {
    cursor.fail(LEGACY_RULES.tmemFrame, start, "the head of the chunk lacks its marks");
  }
  const pools: TmemPool[] = [];
  for (;;) {
    const id = await cursor.u32("tmem pool id");
    if (id === LIST_END) return pools;
    if (pools.length === POOLS_KEPT)
      cursor.fail(LEGACY_RULES.tmemFrame, cursor.position - 4, "more pools than any client had");
    await cursor.need(TMEM_POOL.size, "tmem pool");
    const pool = TMEM_POOL.read(cursor.reader.view, cursor.reader.at, "little");
    cursor.reader.take(TMEM_POOL.size);
    const pageSize = 2 ** (12 + ((pool.flags >>> 4) & 15));
    let pages = 0;
    while (pages < pool.pages) {
      await cursor.need(TMEM_OID_SIZE, "tmem object id");
      const oid = cursor.reader.take(TMEM_OID_SIZE);
      if (oid.every((byte) => byte === 0xff)) break;
      await cursor.skip(4 + pageSize, "tmem page");
      pages += 1;
    }
    const persistent = (pool.flags & 1) !== 0;
    pools.push({ id, flags: pool.flags, persistent, pageSize, announced: pool.pages, pages });
  }
}

/** Passes over a chunk of tmem invalidations; returns how many there were. */
export async function readTmemInvalidations(cursor: Cursor): Promise<number> {
  for (let count = 0; ; count += 1) {
    if ((await cursor.u32("tmem pool id")) === LIST_END) return count;
    await cursor.skip(TMEM_OID_SIZE + 4, "tmem invalidation");
  }
}
