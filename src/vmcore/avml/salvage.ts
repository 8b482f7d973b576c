import type { DoubtfulPart, LostPart } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { MOST_EXPANSION } from "./chunk.js";
import { avmlHeader, avmlTrailer, CHUNK, CHUNK_CHECKSUM, CHUNK_HEADER } from "./layout.js";
import { ChunkReader } from "./memory.js";
import { type AvmlBlock, type AvmlDump, Chunks, MOST_BLOCKS } from "./read.js";
import { AvmlWalk, type Run, type WalkedBlock, type WalkedChunk } from "./walk.js";

/*
 * Chunks have checksums, and unpack to so many bytes each: after damage in a block the next one is found by itself, and its
 * address is known from the block's end. A block whose header is damaged is as long as its chunks; its header may still
 * have the addresses, or its neighbours leave it just that room.
 */

/** What is left of a damaged dump. */
export interface SalvagedDump {
  readonly dump: AvmlDump;
  readonly lost: readonly LostPart[];
  readonly doubtful: readonly DoubtfulPart[];
  /** Blocks whose address isn't known: where each is in the file, and its bytes. */
  readonly unplaced: readonly { readonly offset: number; readonly size: number }[];
}

/** Why memory after a lost part may be another's. */
const OTHER_BLOCK = "is a later block's if the lost part has one's start";

/** Bytes at the start of an input in which a block is looked for. */
const LOOKED_AT = 64 << 20;

function walkOf(input: ByteSource): AvmlWalk {
  return new AvmlWalk(input, async (chunk) => {
    const one = new Chunks();
    addTo(one, chunk);
    return new ChunkReader(input, one).isSound(0);
  });
}

function addTo(chunks: Chunks, { offset, next, kind, length }: WalkedChunk): void {
  const data = offset + CHUNK_HEADER + CHUNK_CHECKSUM;
  chunks.add(data, next - data, length, kind === CHUNK.compressed);
}

/** Whether an input that doesn't begin as a dump is one: chunks follow its first header, or another block does. */
export async function isDamagedAvml(input: ByteSource): Promise<boolean> {
  const walk = walkOf(input);
  const first = await walk.chunk(avmlHeader.size);
  if (first?.kind === CHUNK.streamIdentifier && (await walk.proof(first.next)) > 0) return true;
  return walk.hasHeader(LOOKED_AT);
}

/** Reads the blocks of a dump that is damaged, and what of their chunks is sound. */
export async function salvageDump(input: ByteSource): Promise<SalvagedDump> {
  return new Salvager(input).run();
}

class Salvager {
  readonly #input: ByteSource;
  readonly #walk: AvmlWalk;
  readonly #blocks: AvmlBlock[] = [];
  readonly #chunks = new Chunks();
  readonly #damaged: { start: number; end: number }[] = [];
  readonly #lost: LostPart[] = [];
  readonly #doubtful: DoubtfulPart[] = [];
  readonly #unplaced: { offset: number; size: number }[] = [];
  /** Where the last block ends whose addresses are known. */
  #end = 0;
  /** Whether one without an address came after it. */
  #isApart = true;

  constructor(input: ByteSource) {
    this.#input = input;
    this.#walk = walkOf(input);
  }

  async run(): Promise<SalvagedDump> {
    for (let at = 0; at < this.#input.size && this.#blocks.length < MOST_BLOCKS; )
      at = Math.max(at + 1, await this.#take(at));
    const dump = { blocks: this.#blocks, chunks: this.#chunks, lost: undefined, damaged: this.#damaged };
    return { dump, lost: this.#lost, doubtful: this.#doubtful, unplaced: this.#unplaced };
  }

  /** Takes the block whose header is at an offset, or should be; answers where the next one is. */
  async #take(at: number): Promise<number> {
    const walk = this.#walk;
    const header = await walk.header(at);
    const data = at + avmlHeader.size;
    if (header !== undefined && header.start >= this.#end) {
      const plain = await walk.plain(data, header.end - header.start);
      if (plain !== undefined) {
        this.#place(at, header.start, plain.run);
        return plain.next;
      }
    }
    const first = await walk.chunk(data);
    const isBlock = header !== undefined || first?.kind === CHUNK.streamIdentifier;
    if (!isBlock) {
      const found = await walk.resume(at);
      const isHeader = found === undefined || (await walk.header(found.at)) !== undefined;
      const proof = found?.proof ?? 0;
      this.#isApart = true;
      // chunks without a header: of a block whose address is unknown
      const next = found === undefined ? this.#input.size : found.at;
      const block = isHeader ? undefined : await walk.careful(next);
      const end = block?.next ?? next;
      this.#lost.push({ start: at, end, proof, what: "a block whose address is unknown" });
      const size = (block?.front?.length ?? 0) + (block?.back?.length ?? 0);
      // where no chunk is left of it the file's bytes are all that is known
      this.#unplaced.push({ offset: at, size: size > 0 ? size : end - at });
      return end;
    }
    const block = await walk.careful(data);
    const length = block.front?.length ?? 0;
    const after = await walk.header(block.next);
    const isOwn =
      header !== undefined &&
      header.start >= this.#end &&
      length <= header.end - header.start &&
      (after === undefined || header.end <= after.start);
    if (block.lost === undefined && block.isEnded) await this.#repair(at, block, header);
    else if (isOwn) await this.#fill(at, header, block);
    else this.#leave(at, block);
    return block.next;
  }

  /** A block all of whose chunks are sound, and whose header is not. */
  async #repair(
    at: number,
    block: WalkedBlock,
    header: { start: number; end: number } | undefined,
  ): Promise<void> {
    const { front, next } = block;
    if (front === undefined) return;
    const size = front.length;
    const stated = header ?? (await this.#walk.header(at, true));
    const after = (await this.#walk.header(next))?.start ?? Number.MAX_SAFE_INTEGER;
    const starts = new Set<number>();
    if (stated !== undefined && stated.end - stated.start === size) starts.add(stated.start);
    else {
      // just the room between its neighbours, or a neighbour's border that the header has as well
      const begins = !this.#isApart && (after - this.#end === size || stated?.start === this.#end);
      if (begins) starts.add(this.#end);
      if (stated?.end === after) starts.add(after - size);
    }
    const [start = -1] = starts;
    if (starts.size !== 1 || start < this.#end || start + size > after) return this.#leave(at, block);
    this.#place(at, start, front);
    this.#lost.push({
      start: at,
      end: at + avmlHeader.size,
      proof: front.chunks.length,
      what: "a block's header, made anew",
    });
  }

  /** A block whose addresses are known, some of whose chunks are damaged. */
  async #fill(at: number, header: { start: number; end: number }, block: WalkedBlock): Promise<void> {
    const { front, back, lost, next } = block;
    const before = front?.length ?? 0;
    const behind = back?.length ?? 0;
    const after = await this.#walk.header(next);
    const own = ownEnd({ at, header, block, before, after: after?.start });
    const isOwn = own !== undefined;
    if (front !== undefined && before > 0) this.#place(at, header.start, front);
    const end = isOwn ? header.end - behind : header.end;
    if (header.start + before < end) this.#damaged.push({ start: header.start + before, end });
    if (isOwn && back !== undefined) this.#place(at, end, back);
    if (own === "doubtful") this.#doubtful.push({ start: end, end: header.end, why: OTHER_BLOCK });
    this.#end = header.end;
    this.#isApart = false;
    const what = "chunks of a block";
    // at the input's end nothing is damaged: it is missing
    const part = lost ?? { start: next, end: this.#input.size, proof: 0 };
    if (isOwn || back === undefined) this.#lost.push({ ...part, what });
    else this.#lost.push({ ...part, end: next, what: `${what}, and others whose address is unknown` });
  }

  /** A block that can't be placed. */
  #leave(at: number, { next, front, back, lost }: WalkedBlock): void {
    const size = (front?.length ?? 0) + (back?.length ?? 0);
    this.#unplaced.push({ offset: at, size });
    this.#lost.push({
      start: at,
      end: next,
      proof: lost?.proof ?? 1,
      what: "a block whose address is unknown",
    });
    this.#isApart = true;
  }

  #place(offset: number, start: number, { chunks, length }: Run): void {
    const firstChunk = this.#chunks.count;
    for (const chunk of chunks) addTo(this.#chunks, chunk);
    const end = start + length;
    this.#blocks.push({ start, end, offset, firstChunk, endChunk: this.#chunks.count, there: length });
    this.#end = end;
    this.#isApart = false;
  }
}

/**
 * Whether chunks after damage are of the block that was damaged, and not of a later one whose header is lost: the number after
 * them says so. It is sure where no other block can be in the lost bytes, or between this one's addresses and the next one's.
 */
function ownEnd(found: {
  /** Offset of the block's header. */
  readonly at: number;
  readonly header: { readonly start: number; readonly end: number };
  readonly block: WalkedBlock;
  readonly before: number;
  /** Where the next block's memory begins; undefined: none follows. */
  readonly after: number | undefined;
}): "sure" | "doubtful" | undefined {
  const { header, before, after } = found;
  const { back, lost, trailer, isEnded, next } = found.block;
  if (back === undefined || lost === undefined || !isEnded) return undefined;
  const size = header.end - header.start;
  const missing = size - before - back.length;
  const couldHold = (lost.end - lost.start) * MOST_EXPANSION;
  if (missing < 0 || missing > couldHold) return undefined;
  // the size of the packed block, as some have it, is of one place alone
  if (trailer === next - avmlTrailer.size - avmlHeader.size - found.at) return "sure";
  if (trailer !== size) return undefined;
  const isTight = after !== undefined && after >= header.end && after - header.end < size;
  return isTight || couldHold < missing + size ? "sure" : "doubtful";
}
