import { FormatError } from "../../findings/errors.js";
import { CODEC_RULES } from "../rules.js";

/**
 * Unpacks one page or block to exactly `outputLength` bytes.
 * @throws FormatError `codec/<name>` when the input is damaged or of another length.
 */
export type PageDecompressor = (input: Uint8Array, outputLength: number) => Uint8Array;

/** Packs one page; `level` as the library counts, ignored by codecs without levels. */
export type PageCompressor = (input: Uint8Array, level: number) => Uint8Array;

/** Both ways of a compression, each made ready by itself: that takes as long as packing a thousand pages. */
export interface PageCodec {
  readonly decompressor: () => Promise<PageDecompressor>;
  readonly compressor: () => Promise<PageCompressor>;
}

export const CODEC_NAMES = ["zlib", "lzo", "snappy", "zstd"] as const;
export type CodecName = (typeof CODEC_NAMES)[number];

/** Browser-safe implementations, each loaded when it is first used. */
const codecs: Record<CodecName, PageCodec> = {
  zlib: loadedOnce({ decompressor: fflateDecompressor, compressor: fflateCompressor }),
  lzo: loadedOnce({
    decompressor: async () => (await import("./lzo.js")).lzoDecompress,
    compressor: async () => (await import("./lzo.js")).lzoCompress,
  }),
  snappy: loadedOnce({
    decompressor: async () => (await import("./snappy.js")).snappyDecompress,
    compressor: async () => (await import("./snappy.js")).snappyCompress,
  }),
  zstd: loadedOnce({ decompressor: zstdDecompressor, compressor: zstdCompressor }),
};

/** Puts another implementation in place, such as a platform's own. */
export function installCodec(name: CodecName, codec: PageCodec): void {
  codecs[name] = loadedOnce(codec);
}

export function loadDecompressor(name: CodecName): Promise<PageDecompressor> {
  return codecs[name].decompressor();
}

export function loadCompressor(name: CodecName): Promise<PageCompressor> {
  return codecs[name].compressor();
}

function loadedOnce({ decompressor, compressor }: PageCodec): PageCodec {
  let decompress: Promise<PageDecompressor> | undefined;
  let compress: Promise<PageCompressor> | undefined;
  return {
    decompressor: () => (decompress ??= decompressor()),
    compressor: () => (compress ??= compressor()),
  };
}

/** Wraps what a foreign decoder throws or gives back into this project's errors. */
export function checkedDecompress(
  name: CodecName,
  outputLength: number,
  decode: () => Uint8Array | undefined,
): Uint8Array {
  let output: Uint8Array | undefined;
  try {
    output = decode();
  } catch (error) {
    throw new FormatError(CODEC_RULES[name], `${name} data: ${(error as Error).message}`);
  }
  if (output?.length === outputLength) return output;
  throw new FormatError(
    CODEC_RULES[name],
    `${name} data: it unpacks to ${output?.length ?? 0} bytes, not ${outputLength}`,
  );
}

async function fflateDecompressor(): Promise<PageDecompressor> {
  const { unzlibSync } = await import("fflate");
  // one byte of room more, so that longer output shows
  return (input, outputLength) =>
    checkedDecompress("zlib", outputLength, () =>
      unzlibSync(input, { out: new Uint8Array(outputLength + 1) }),
    );
}

async function fflateCompressor(): Promise<PageCompressor> {
  const { zlibSync } = await import("fflate");
  return (input, level) => zlibSync(input, { level: Math.max(0, Math.min(level, 9)) as 0 | 1 | 9 });
}

async function zstdDecompressor(): Promise<PageDecompressor> {
  const { ZSTDDecoder } = await import("zstddec");
  const decoder = new ZSTDDecoder();
  await decoder.init();
  return (input, outputLength) =>
    checkedDecompress("zstd", outputLength, () => decoder.decode(input, outputLength));
}

async function zstdCompressor(): Promise<PageCompressor> {
  const { compressUsingDict, createCCtx, init } = await import("@bokuweb/zstd-wasm");
  await init();
  // one context for all pages, and no dictionary: setting up a context takes longer than packing a page
  const context = createCCtx();
  const none = new Uint8Array(0);
  return (input, level) => {
    // the package copies signed bytes to its memory at once, unsigned ones one by one
    const signed = new Int8Array(input.buffer, input.byteOffset, input.length) as Uint8Array | Int8Array;
    return compressUsingDict(context, signed as Uint8Array, none, level);
  };
}
