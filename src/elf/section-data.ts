import { ELF_RULES } from "./rules.js";
import { BINARY_RULES } from "../binary/rules.js";
import { latin1, readU64, viewOf } from "../binary/layout.js";
import { loadDecompressor } from "../io/codecs/codec.js";
import { FormatError } from "../findings/errors.js";
import type { ByteOrder } from "../binary/layout.js";
import type { ElfSection } from "./section.js";
import {
  type ElfBits,
  chdr32,
  chdr64,
  ELFCOMPRESS_ZLIB,
  ELFCOMPRESS_ZSTD,
  SHF_COMPRESSED,
} from "./layout.js";

/** Most that is held in memory of one section: ten times what the largest programs that this is for have. */
export const HELD_LIMIT = 2 ** 30;
/** Unpacked to packed bytes at most, by algorithm: what the format can reach, or far beyond any debug info. */
const RATIO_LIMIT = { zlib: 1032, zstd: 4096 } as const;
/** Magic, size: in front of the zlib stream of a `.zdebug_` section. */
const ZDEBUG_HEADER = 12;

/** What unpacking needs to know of the file that a section is of. */
export interface SectionHolder {
  readonly name: string;
  readonly bits: ElfBits;
  readonly order: ByteOrder;
}

/**
 * Unpacks a compressed section.
 *
 * @param bytes The section as it is in the file.
 * @throws FormatError `elf/section/compression` for an unknown method, an absurd size or damaged contents.
 */
export async function unpackSection(
  elf: SectionHolder,
  section: ElfSection,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const refuse = (message: string): FormatError =>
    new FormatError(ELF_RULES.sectionCompression, message, {
      source: elf.name,
      offset: section.offset,
      record: `section ${section.name}`,
    });
  const { method, size, at } = readPacking(elf, section, bytes, refuse);
  const packed = bytes.subarray(at);
  if (size > Math.min(HELD_LIMIT, (packed.length + 64) * RATIO_LIMIT[method])) {
    throw refuse(`${packed.length} bytes can't unpack to the ${size} announced`);
  }
  const decompress = await loadDecompressor(method);
  try {
    return decompress(packed, size);
  } catch (error) {
    if (error instanceof FormatError) throw refuse(`damaged contents: ${error.message}`);
    throw error;
  }
}

interface Packing {
  readonly method: "zlib" | "zstd";
  /** Bytes when unpacked. */
  readonly size: number;
  /** Where the packed bytes start. */
  readonly at: number;
}

function readPacking(
  elf: SectionHolder,
  section: ElfSection,
  bytes: Uint8Array,
  refuse: (message: string) => FormatError,
): Packing {
  try {
    const isOld = (section.flags & SHF_COMPRESSED) === 0n;
    return isOld ? zdebug(bytes, refuse) : compressionHeader(elf, bytes, refuse);
  } catch (error) {
    // sizes beyond 2^53 are refused without their place
    if (error instanceof FormatError && error.rule === BINARY_RULES.overflow) throw refuse(error.message);
    throw error;
  }
}

function compressionHeader(
  elf: SectionHolder,
  bytes: Uint8Array,
  refuse: (message: string) => FormatError,
): Packing {
  const chdr = elf.bits === 64 ? chdr64 : chdr32;
  if (bytes.length < chdr.size) throw refuse("no room for the compression header");
  const header = chdr.read(viewOf(bytes), 0, elf.order);
  if (header.ch_type !== ELFCOMPRESS_ZLIB && header.ch_type !== ELFCOMPRESS_ZSTD) {
    throw refuse(`compression method ${header.ch_type} is neither zlib nor zstd`);
  }
  return {
    method: header.ch_type === ELFCOMPRESS_ZLIB ? "zlib" : "zstd",
    size: header.ch_size,
    at: chdr.size,
  };
}

/** `ZLIB`, the size in big endian whatever the file's byte order, a zlib stream. */
function zdebug(bytes: Uint8Array, refuse: (message: string) => FormatError): Packing {
  if (bytes.length < ZDEBUG_HEADER || latin1(bytes.subarray(0, 4)) !== "ZLIB") {
    throw refuse("no ZLIB header in a .zdebug section");
  }
  return { method: "zlib", size: readU64(viewOf(bytes), 4, false), at: ZDEBUG_HEADER };
}
