import { FormatError } from "../../findings/errors.js";
import type { Unpacker } from "../codecs/pieces.js";
import { type Parts, unzstdWith } from "../codecs/zstd-frames.js";
import { CODEC_RULES } from "../rules.js";
import { Engine, zlibUnpacker, type ZlibStream } from "./engine.js";

/** Bytes of output that a decoder gives back at a time, and loses when it fails. */
const CHUNK = 64 << 10;
/** ZSTD_d_windowLogMax. */
const WINDOW_LOG_MAX = 100;

/** The part of zlib that Node has from 22.15 on. */
interface NativeZstd {
  readonly createZstdDecompress: (options: { params: Record<number, number> }) => ZlibStream;
}
const zlib = process.getBuiltinModule("node:zlib") as typeof import("node:zlib") & NativeZstd;

/** Unpacks gzip members. @throws FormatError `codec/gzip` */
export const gunzip: Unpacker = zlibUnpacker({
  rule: CODEC_RULES.gzip,
  name: "gzip",
  trailer: 8,
  padded: true,
  create: () => zlib.createGunzip({ chunkSize: CHUNK }),
});

/** Unpacks a zlib stream. @throws FormatError `codec/zlib` */
export const unzlib: Unpacker = zlibUnpacker({
  rule: CODEC_RULES.zlib,
  name: "zlib",
  trailer: 4,
  padded: false,
  create: () => zlib.createInflate({ chunkSize: CHUNK }),
});

/** Unpacks zstd frames. @throws FormatError `codec/zstd` */
export const unzstd: Unpacker = unzstdWith(decodeFrame);

async function* decodeFrame(parts: Parts): AsyncIterable<Uint8Array> {
  const engine = new Engine(zlib.createZstdDecompress({ params: { [WINDOW_LOG_MAX]: 27 } }));
  try {
    for await (const part of parts) {
      yield* await engine.push(part);
      if (engine.failure !== undefined)
        throw new FormatError(CODEC_RULES.zstd, `zstd data: ${engine.failure.message}`);
    }
  } finally {
    engine.close();
  }
}
