import { viewOf } from "../../binary/layout.js";
import { FormatError } from "../../findings/errors.js";
import { CODEC_RULES } from "../../io/rules.js";

const MAGIC = 0xfd2f_b528;

/**
 * Bytes of the zstd frame that `bytes` begins with: other data may follow it (RFC 8878, section 3.1.1).
 * @throws FormatError `codec/zstd` when none begins or ends there
 */
export function zstdFrameLength(bytes: Uint8Array): number {
  const view = viewOf(bytes);
  const cut = (): never => {
    throw new FormatError(CODEC_RULES.zstd, "zstd data: it ends within a frame");
  };
  if (bytes.length < 6) return cut();
  if (view.getUint32(0, true) !== MAGIC)
    throw new FormatError(CODEC_RULES.zstd, "zstd data: no frame starts here");
  const descriptor = view.getUint8(4);
  const isSingle = (descriptor & 0x20) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contents = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  let at = 5 + (isSingle ? 0 : 1) + dictionary + contents;
  for (let last = false; !last; ) {
    if (at + 3 > bytes.length) return cut();
    const head = view.getUint8(at) + view.getUint8(at + 1) * 2 ** 8 + view.getUint8(at + 2) * 2 ** 16;
    last = (head & 1) === 1;
    // a run of one byte takes one, whatever its length
    at += 3 + (((head >> 1) & 3) === 1 ? 1 : head >>> 3);
  }
  at += (descriptor & 4) === 0 ? 0 : 4;
  return at <= bytes.length ? at : cut();
}
