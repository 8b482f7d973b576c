import { ByteReader } from "../../byte-reader.js";
import { FormatError } from "../../../findings/errors.js";
import { LZOP_MAGIC } from "../compressions.js";
import { lzopBlock, readLzopHeader } from "../lzop.js";
import type { Frame, PackedBytes } from "./frame.js";

/*
 * lzop: each block has both its lengths before it, and checksums. All but the last unpack to the same number of bytes, which
 * is what the next one is found by.
 */

const MAGIC = Uint8Array.from(LZOP_MAGIC);
const END = new Uint8Array(4);
/** Bytes of the longest block header. */
const HEAD = 24;
/** Bytes of a part's header that are looked at. */
const MOST_HEADER = 64 << 10;
/** Blocks in a row that prove where they go on. */
const PROOF = 3;

/** The header of a part at an offset. */
async function headerAt(
  packed: PackedBytes,
  at: number,
): Promise<{ readonly bytes: Uint8Array; readonly flags: number } | undefined> {
  const reader = new ByteReader(packed.stream(at, Math.min(packed.size, at + MOST_HEADER)));
  try {
    const flags = await readLzopHeader(reader);
    return { bytes: await packed.bytes(at, reader.position), flags };
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** Finds the blocks of what lzop packed. */
export async function* lzopFrames(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  let header: Uint8Array | undefined;
  let flags = 0;
  /** Bytes of the last block that was not its part's last. */
  let usual: number | undefined;
  for (let at = 0; at < packed.size; ) {
    if (header === undefined) {
      const found = await headerAt(packed, at);
      if (found === undefined) {
        const next =
          (await packed.find(
            [MAGIC],
            at + 1,
            async (offset) => (await headerAt(packed, offset)) !== undefined,
          )) ?? packed.size;
        yield { start: at, end: next };
        at = next;
        continue;
      }
      header = found.bytes;
      flags = found.flags;
      at += header.length;
      continue;
    }
    const start = at;
    const head = (await packed.at(start, HEAD)).slice();
    if (
      head.length >= 4 &&
      head.subarray(0, 4).every((byte) => byte === 0) &&
      (await isPart(packed, start + 4))
    ) {
      header = undefined;
      at = start + 4;
      continue;
    }
    const block = lzopBlock(head, flags);
    const end = block && start + block.length;
    if (block !== undefined && end !== undefined && (await goesOn(packed, end, flags))) {
      const part = header;
      const isLast = (await packed.at(end, 4)).every((byte) => byte === 0);
      if (!isLast) usual = block.size;
      yield { start, end, isUsual: !isLast, open: () => packed.stream(start, end, part, END) };
      at = end;
      continue;
    }
    const size = usual ?? block?.size;
    const next =
      (size === undefined ? undefined : await nextBlock(packed, start + 1, size, flags)) ?? packed.size;
    yield { start, end: next };
    at = next;
  }
}

/** Whether the data end at an offset, or another part begins. */
async function isPart(packed: PackedBytes, at: number): Promise<boolean> {
  const head = await packed.at(at, MAGIC.length);
  return at === packed.size || (head.length === MAGIC.length && MAGIC.every((byte, i) => head[i] === byte));
}

/** Whether a block, or the end of a part, is at an offset. */
async function goesOn(packed: PackedBytes, at: number, flags: number): Promise<boolean> {
  const head = (await packed.at(at, HEAD)).slice();
  if (head.length >= 4 && head.subarray(0, 4).every((byte) => byte === 0)) return isPart(packed, at + 4);
  const block = lzopBlock(head, flags);
  return block !== undefined && at + block.length <= packed.size;
}

/** The next block of `size` bytes from an offset on that others follow. */
function nextBlock(
  packed: PackedBytes,
  from: number,
  size: number,
  flags: number,
): Promise<number | undefined> {
  const pattern = Uint8Array.of(size >>> 24, (size >>> 16) & 0xff, (size >>> 8) & 0xff, size & 0xff);
  return packed.find([pattern], from, async (offset) => {
    for (let at = offset, count = 0; count < PROOF; count += 1) {
      const head = (await packed.at(at, HEAD)).slice();
      if (count > 0 && head.subarray(0, 4).every((byte) => byte === 0)) return isPart(packed, at + 4);
      const block = lzopBlock(head, flags);
      if (block === undefined || at + block.length > packed.size) return false;
      at += block.length;
    }
    return true;
  });
}
