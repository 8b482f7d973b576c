import { type FormatError, TruncatedError } from "../../../findings/errors.js";
import type { ByteSource, ByteStream, Tear } from "../../byte-source.js";
import { withLostBytes } from "../../lost-bytes.js";
import type { CompressionName } from "../compressions.js";
import { type Stored, unpackFrames } from "./unpack-frames.js";

/** Where unpacked bytes are put, to be read at any offset. */
export interface UnpackStore {
  /** Takes a stream in, in place of all that is held from an offset on. */
  store(stream: ByteStream, at: number): Promise<Stored>;
  /** What is held, once nothing more comes. */
  source(): ByteSource;
}

/**
 * What is whole of packed data as a source, after the attempt to unpack them in order: all of them, or the frames that
 * unpack, with lost bytes between them.
 * @param packed undefined: they came once and are gone, so that nothing after the damage can be had
 * @param damage what ended the attempt; undefined: nothing
 * @param start offset of the data's first byte in the input that they are part of: packed places count from there
 */
export async function unpackedSource(
  compression: CompressionName,
  packed: ByteSource | undefined,
  unpacked: UnpackStore,
  damage: FormatError | undefined,
  start = 0,
): Promise<ByteSource> {
  if (damage === undefined) return { ...unpacked.source(), packed: { compression } };
  const store = async (stream: ByteStream, at: number): Promise<Stored> => unpacked.store(stream, at);
  const frames = packed && (await unpackFrames(compression, packed, damage, store, start));
  if (frames === undefined) return { ...unpacked.source(), packed: { compression, tear: tearOf(damage) } };
  const { size, lost, doubtful, tear } = frames;
  return {
    ...withLostBytes(unpacked.source(), size, lost),
    packed: { compression, tear, lost, doubtful },
  };
}

function tearOf(error: FormatError): Tear {
  const { rule, message, place } = error;
  return { rule, message, isCut: error instanceof TruncatedError, packedOffset: place.offset ?? 0 };
}
