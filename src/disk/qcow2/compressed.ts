import { formatError } from "../../findings/diagnostics.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { loadDecompressor } from "../../io/codecs/codec.js";
import { FormatError } from "../../findings/errors.js";
import { CODEC_RULES } from "../../io/rules.js";
import type { Qcow2Header } from "./header.js";
import { QCOW2_RULES } from "./rules.js";
import { keepIn } from "./tables.js";
import { zstdFrameLength } from "./zstd-frame.js";

const SECTOR = 512;
/** Bytes of unpacked clusters kept; one cluster at least. */
const KEPT = 4 << 20;

/** Unpacks `input`, which other data may follow, to exactly `size` bytes. */
type Unpack = (input: Uint8Array, size: number) => Uint8Array;

/** Where a compressed cluster's data are. */
export interface CompressedPlace {
  /** Offset in the file, at any byte. */
  readonly offset: number;
  /** Bytes up to the end of the last sector; the data may end before. */
  readonly length: number;
}

/** The place that an L2 entry with bit 62 describes. */
function compressedPlace(entry: bigint, clusterBits: number): CompressedPlace {
  const sectorBits = clusterBits - 8;
  const shift = BigInt(62 - sectorBits);
  const offset = entry & ((1n << shift) - 1n);
  const sectors = Number((entry >> shift) & ((1n << BigInt(sectorBits)) - 1n)) + 1;
  return { offset: Number(offset), length: sectors * SECTOR - Number(offset & 511n) };
}

/** Compressed clusters of one image, unpacked; few are kept. */
export class CompressedClusters {
  readonly #source: ByteSource;
  readonly #header: Qcow2Header;
  readonly #unpacked = new Map<number, Uint8Array>();
  #unpack: Promise<Unpack> | undefined;

  constructor(source: ByteSource, header: Qcow2Header) {
    this.#source = source;
    this.#header = header;
  }

  /**
   * The contents of the cluster that L2 entry `entry`, at `entryOffset` in the file, is for.
   * @throws FormatError `disk/qcow2/beyond-file`, `disk/qcow2/compressed`
   */
  async cluster(entry: bigint, entryOffset: number): Promise<Uint8Array> {
    const { clusterBits, clusterSize, compression } = this.#header;
    const { offset, length } = compressedPlace(entry, clusterBits);
    const known = this.#unpacked.get(offset);
    if (known !== undefined) return known;
    const where = `the compressed cluster at 0x${offset.toString(16)}`;
    if (offset >= this.#source.size)
      throw formatError(
        QCOW2_RULES.beyondFile,
        this.#source.name,
        { offset: entryOffset },
        `${where} is beyond the end of the file`,
      );
    // the last sector of a file need not be whole
    const input = new Uint8Array(Math.min(length, this.#source.size - offset));
    const n = await readFully(this.#source, offset, input);
    this.#unpack ??= loadUnpack(compression);
    const unpack = await this.#unpack;
    try {
      const bytes = unpack(input.subarray(0, n), clusterSize);
      return keepIn(this.#unpacked, offset, bytes, Math.max(1, Math.floor(KEPT / clusterSize)));
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw formatError(QCOW2_RULES.compressed, this.#source.name, { offset }, `${where}: ${error.message}`);
    }
  }
}

async function loadUnpack(compression: Qcow2Header["compression"]): Promise<Unpack> {
  if (compression === "zstd") {
    const decompress = await loadDecompressor("zstd");
    return (input, size) => decompress(input.subarray(0, zstdFrameLength(input)), size);
  }
  const { inflateSync } = await import("fflate");
  return (input, size) => {
    let output: Uint8Array;
    try {
      output = inflateSync(input, { out: new Uint8Array(size) });
    } catch (error) {
      throw new FormatError(CODEC_RULES.zlib, `deflate data: ${(error as Error).message}`);
    }
    if (output.length === size) return output;
    throw new FormatError(
      CODEC_RULES.zlib,
      `deflate data: it unpacks to ${output.length} bytes, not ${size}`,
    );
  };
}
