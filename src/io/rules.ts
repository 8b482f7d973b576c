import { rules } from "../findings/rule.js";

/** What can be wrong with compressed data, by codec. */
export const CODEC_RULES = rules({
  gzip: {
    code: "codec/gzip",
    severity: "error",
    spec: "RFC 1952",
    explanation:
      "The gzip data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost up to the next member, if there is one. What was unpacked before is sound, but for the damaged member's own part, which is doubtful.",
  },
  xz: {
    code: "codec/xz",
    severity: "error",
    spec: "xz file format",
    explanation:
      "The xz data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost up to the next block, if there is one. What was unpacked before is sound, but for the damaged block's own part, which is doubtful.",
  },
  zstd: {
    code: "codec/zstd",
    severity: "error",
    spec: "RFC 8878",
    explanation:
      "The zstd data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost up to the next frame, if there is one. What was unpacked before is sound, but for the damaged frame's own part, which is doubtful.",
  },
  lz4: {
    code: "codec/lz4",
    severity: "error",
    spec: "LZ4 frame and block formats",
    explanation:
      "The LZ4 data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost up to the next block, if blocks are independent. Where blocks have no checksums of their own, all of their frame are doubtful.",
  },
  bzip2: {
    code: "codec/bzip2",
    severity: "error",
    spec: "bzip2 file format",
    explanation:
      "The bzip2 data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost up to the next block. All other blocks are sound: each has a checksum.",
  },
  lzop: {
    code: "codec/lzop",
    severity: "error",
    spec: "lzop file format",
    explanation:
      "The lzop data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost up to the next block. All other blocks are sound where they have checksums.",
  },
  zlib: {
    code: "codec/zlib",
    severity: "error",
    spec: "RFC 1950",
    explanation:
      "The zlib data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost, what was unpacked before it is sound.",
  },
  lzo: {
    code: "codec/lzo",
    severity: "error",
    spec: "LZO1X",
    explanation:
      "The LZO data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost, what was unpacked before it is sound.",
  },
  snappy: {
    code: "codec/snappy",
    severity: "error",
    spec: "Snappy format description",
    explanation:
      "The Snappy data must unpack to the announced length and checksum. They are damaged or cut: what follows the damage is lost, what was unpacked before it is sound.",
  },
});
