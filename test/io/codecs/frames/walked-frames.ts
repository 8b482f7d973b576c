import type { CompressionName } from "../../../../src/io/codecs/compressions.js";
import { bytesSource } from "../../../../src/io/byte-source.js";
import { type Frame, PackedBytes } from "../../../../src/io/codecs/frames/frame.js";
import { frameWalk } from "../../../../src/io/codecs/frames/unpack-frames.js";
import { decompressStream } from "../../../../src/io/codecs/streams.js";
import type { KnownFrame, KnownPacked } from "./packed-oracle.js";

/** The frames of packed data that are whole, as they are walked over; each is unpacked, and they must be all of the data. */
export async function walkedFrames(
  name: CompressionName,
  plain: Buffer,
  packed: Buffer,
): Promise<KnownPacked> {
  const walk = await frameWalk(name);
  const frames: KnownFrame[] = [];
  let from = 0;
  const take = async (frame: Frame): Promise<void> => {
    if (frame.parts !== undefined) {
      for await (const part of frame.parts()) await take(part);
      return;
    }
    const { start, end, open } = frame;
    if (open === undefined) throw new Error(`a frame at ${start} can't be opened`);
    const stream = decompressStream(name, open());
    const buffer = Buffer.alloc(1 << 20);
    let to = from;
    for (let n = await stream.read(buffer); n > 0; n = await stream.read(buffer)) {
      if (!buffer.subarray(0, n).equals(plain.subarray(to, to + n))) throw new Error(`other bytes at ${to}`);
      to += n;
    }
    frames.push({ start, end, from, to });
    from = to;
  };
  for await (const frame of walk(new PackedBytes(bytesSource(packed)))) await take(frame);
  if (from !== plain.length) throw new Error(`frames of ${from} bytes, not ${plain.length}`);
  return { packed, plain, frames };
}
