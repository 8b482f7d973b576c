import { FormatError } from "../errors.js";

/** Packs and unpacks one page or block at a time. */
export interface PageCodec {
  /**
   * Unpacks to exactly `outputLength` octets.
   * @throws FormatError `codec/<name>` when the input is damaged or of another length.
   */
  decompress(input: Uint8Array, outputLength: number): Uint8Array;
  /** Packs; `level` as the library counts, ignored by codecs without levels. */
  compress?(input: Uint8Array, level: number): Uint8Array;
}

export const CODEC_NAMES = ["zlib", "lzo", "snappy", "zstd"] as const;
export type CodecName = (typeof CODEC_NAMES)[number];

type Loader = () => Promise<PageCodec>;

/** Browser-safe implementations, each loaded when it is first used. */
const loaders: Record<CodecName, Loader> = {
  zlib: loadFflate,
  lzo: async () => (await import("./lzo.js")).lzo,
  snappy: async () => (await import("./snappy.js")).snappy,
  zstd: loadZstd,
};
const loaded = new Map<CodecName, Promise<PageCodec>>();

/** Puts another implementation in place, such as a platform's own. */
export function installCodec(name: CodecName, load: Loader): void {
  loaders[name] = load;
  loaded.delete(name);
}

/** The codec of a name, loaded once. */
export function loadCodec(name: CodecName): Promise<PageCodec> {
  const known = loaded.get(name) ?? loaders[name]();
  loaded.set(name, known);
  return known;
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
    throw new FormatError(`codec/${name}`, `${name} data: ${(error as Error).message}`);
  }
  if (output?.length === outputLength) return output;
  throw new FormatError(
    `codec/${name}`,
    `${name} data: it unpacks to ${output?.length ?? 0} octets, not ${outputLength}`,
  );
}

async function loadFflate(): Promise<PageCodec> {
  const { unzlibSync, zlibSync } = await import("fflate");
  return {
    // one octet of room more, so that longer output shows
    decompress: (input, outputLength) =>
      checkedDecompress("zlib", outputLength, () =>
        unzlibSync(input, { out: new Uint8Array(outputLength + 1) }),
      ),
    compress: (input, level) => zlibSync(input, { level: Math.max(0, Math.min(level, 9)) as 0 | 1 | 9 }),
  };
}

async function loadZstd(): Promise<PageCodec> {
  const { ZSTDDecoder } = await import("zstddec");
  const decoder = new ZSTDDecoder();
  await decoder.init();
  return {
    decompress: (input, outputLength) =>
      checkedDecompress("zstd", outputLength, () => decoder.decode(input, outputLength)),
    compress: await loadZstdCompressor(),
  };
}

async function loadZstdCompressor(): Promise<NonNullable<PageCodec["compress"]>> {
  const { compressUsingDict, createCCtx, init } = await import("@bokuweb/zstd-wasm");
  await init();
  // one context for all pages, and no dictionary: setting up a context takes longer than packing a page
  const context = createCCtx();
  const none = new Uint8Array(0);
  return (input, level) => compressUsingDict(context, input, none, level);
}
