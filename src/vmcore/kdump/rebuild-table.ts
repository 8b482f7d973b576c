import { type ByteOrder, viewOf } from "../../binary/layout.js";
import { Resynchronizer } from "../../guest/salvage.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { COMPRESSION_FLAGS, pageDescriptor } from "./layout.js";

const SIZE = pageDescriptor.size;
const FLAGS: ReadonlySet<number> = new Set([0, ...Object.values(COMPRESSION_FLAGS)]);
/** Descriptors looked at where a table may begin. */
const SAMPLE = 64;

/** What the first descriptors of a table show. */
interface Sample {
  /** The lowest offset of contents; undefined: they don't follow one another. */
  readonly low: number | undefined;
  /** Size of a page stored as it is. */
  readonly block: number | undefined;
  /** Possible descriptors, from the first on. */
  readonly seen: number;
}

/** Looks for the table of descriptors of a dump whose headers can't be believed, by what descriptors look like. */
export class TableFinder {
  readonly #source: ByteSource;
  /** Bytes that were looked at. */
  looked = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** The first descriptors at an offset: the lowest offset of contents, and the size of stored ones. */
  async sample(at: number, order: ByteOrder): Promise<Sample> {
    const bytes = new Uint8Array(SAMPLE * SIZE);
    const n = await readFully(this.#source, at, bytes);
    this.looked += bytes.length;
    return sampleOf(viewOf(bytes), n, at, this.#source.size, order);
  }

  /** The first place, in blocks of 512 bytes, at which a table begins. @param end before which it must be; default the source's */
  async findTable(order: ByteOrder, end?: number): Promise<number | undefined> {
    const { size } = this.#source;
    const head = 4 * SIZE;
    const resynchronizer = new Resynchronizer(this.#source, {
      step: 512,
      head,
      isLikely: (view, at) => {
        const little = order === "little";
        if (!FLAGS.has(view.getUint32(at + 12, little)) || view.getBigUint64(at + 16, little) !== 0n)
          return false;
        const stored = view.getUint32(at + 8, little);
        return stored > 0 && stored <= 1 << 20 && view.getBigUint64(at, little) < BigInt(size);
      },
      proof: async (offset) => ((await this.sample(offset, order)).low === undefined ? 0 : 1),
    });
    return (await resynchronizer.resume(512, Math.min(end ?? size, size)))?.at;
  }

  /** Whether a table has so many descriptors: a part of a split dump has room for more. */
  async endsAt(at: number, count: number, order: ByteOrder): Promise<boolean> {
    const last = await this.sample(at + (count - 1) * SIZE, order);
    const next = await this.sample(at + count * SIZE, order);
    return last.seen > 0 && next.seen === 0;
  }
}

/** Looks at the descriptors in the first `length` bytes of a view, which is at `offset` in the file. */
function sampleOf(
  view: DataView,
  length: number,
  offset: number,
  fileSize: number,
  order: ByteOrder,
): Sample {
  const none = { low: undefined, block: undefined, seen: 0 };
  const little = order === "little";
  let low = Number.POSITIVE_INFINITY;
  let block: number | undefined;
  let [seen, linked] = [0, 0];
  let end = -1;
  for (let at = 0; at + SIZE <= length && offset + at < low; at += SIZE) {
    const start = view.getBigUint64(at, little);
    const size = view.getUint32(at + 8, little);
    const flags = view.getUint32(at + 12, little);
    const isPossible =
      FLAGS.has(flags) &&
      size > 0 &&
      size <= 1 << 20 &&
      view.getBigUint64(at + 16, little) === 0n &&
      start > BigInt(offset);
    if (!isPossible || start + BigInt(size) > BigInt(fileSize)) {
      // the first must be one; of the others damage may have taken some
      if (seen === 0) return none;
      continue;
    }
    seen += 1;
    const place = Number(start);
    if (place === end || place === low || place + size === low || (flags === 0 && seen === 1)) linked += 1;
    if (flags === 0 && block === undefined) block = size;
    low = Math.min(low, place);
    end = place + size;
  }
  return linked > 0 && linked * 2 >= seen ? { low, block, seen } : { ...none, seen };
}
