import { checkedDecompress, installCodec, type PageCodec } from "../codecs/codec.js";
import { installByteSearch, installByteText, installEqualBytes } from "../byte-search.js";
import { installUnpacker, loaded } from "../codecs/streams.js";

/** The part of zlib that Node has from 22.15 on. */
interface NativeZstd {
  readonly zstdCompressSync: (input: Uint8Array, options: { params: Record<number, number> }) => Uint8Array;
  readonly zstdDecompressSync: (input: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
}
type ZlibModule = typeof import("node:zlib") & NativeZstd;
/** ZSTD_c_compressionLevel. */
const LEVEL = 100;

/** Node's zlib, loaded when first used: most inputs aren't compressed, and every start would pay for it. */
const zlib = (): ZlibModule => process.getBuiltinModule("node:zlib") as ZlibModule;

/** Puts Node's own implementations in place of those for browsers. Call it once at the start of a program. */
export function installNodeCodecs(): void {
  // ten times as fast as the typed arrays' own search, and for patterns
  installEqualBytes((a, b) => Buffer.compare(a, b) === 0);
  installByteText((bytes) => Buffer.prototype.latin1Slice.call(bytes, 0, bytes.length));
  installByteSearch((bytes, pattern, from) => Buffer.prototype.indexOf.call(bytes, pattern, from));
  installCodec("zlib", nodeZlib);
  installUnpacker(
    "gzip",
    loaded(async () => (await import("./unpackers.js")).gunzip),
  );
  installUnpacker(
    "zlib",
    loaded(async () => (await import("./unpackers.js")).unzlib),
  );
  if (process.versions["zstd"] !== undefined) {
    installCodec("zstd", nodeZstd);
    installUnpacker(
      "zstd",
      loaded(async () => (await import("./unpackers.js")).unzstd),
    );
  }
}

const nodeZlib: PageCodec = {
  decompressor: async () => {
    const { inflateSync } = zlib();
    return (input, outputLength) =>
      checkedDecompress("zlib", outputLength, () =>
        inflateSync(input, {
          maxOutputLength: Math.max(1, outputLength),
          chunkSize: Math.max(64, outputLength),
        }),
      );
  },
  // a window of the input's size: setting up a larger one takes longer than packing a page
  compressor: async () => {
    const { deflateSync } = zlib();
    return (input, level) =>
      deflateSync(input, {
        level,
        // most pages fit one piece of output; the usual 16 KiB would all be new memory
        chunkSize: input.length + 64,
        windowBits: Math.max(9, Math.min(15, Math.ceil(Math.log2(Math.max(1, input.length))))),
      });
  },
};

const nodeZstd: PageCodec = {
  decompressor: async () => {
    const { zstdDecompressSync } = zlib();
    return (input, outputLength) =>
      checkedDecompress("zstd", outputLength, () =>
        zstdDecompressSync(input, { maxOutputLength: Math.max(1, outputLength) }),
      );
  },
  compressor: async () => {
    const { zstdCompressSync } = zlib();
    return (input, level) => zstdCompressSync(input, { params: { [LEVEL]: level } });
  },
};
