/** Whole-file compressions that are told apart by how they begin. */
export const COMPRESSION_NAMES = ["gzip", "xz", "zstd", "lz4", "bzip2", "lzop", "zlib"] as const;
export type CompressionName = (typeof COMPRESSION_NAMES)[number];

export const LZOP_MAGIC: readonly number[] = [0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a];

const MAGIC: Readonly<Record<CompressionName, readonly (readonly number[])[]>> = {
  gzip: [[0x1f, 0x8b, 0x08]],
  xz: [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  // a frame, or the skippable one that pzstd puts before each
  zstd: [
    [0x28, 0xb5, 0x2f, 0xfd],
    [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0],
  ],
  lz4: [
    [0x04, 0x22, 0x4d, 0x18],
    [0x02, 0x21, 0x4c, 0x18],
  ],
  bzip2: [[0x42, 0x5a, 0x68]],
  lzop: [LZOP_MAGIC],
  // windows of 32 KiB by the four marks of effort, and of 2 KiB as LiME's compress=1 writes it
  zlib: [
    [0x78, 0x01],
    [0x78, 0x5e],
    [0x78, 0x9c],
    [0x78, 0xda],
    [0x38, 0x8d],
  ],
};

/** The first bytes of what is packed, in the form that most programs write. */
export const magicOf = (name: CompressionName): Uint8Array => Uint8Array.from(MAGIC[name][0] ?? []);

/** What an input that begins with `head` (at least 9 bytes, if it has them) is compressed with. */
export function detectCompression(head: Uint8Array): CompressionName | undefined {
  const starts = (magic: readonly number[]): boolean => magic.every((byte, i) => head[i] === byte);
  return COMPRESSION_NAMES.find(
    (name) => MAGIC[name].some(starts) && (name !== "zlib" || startsDeflate(head.subarray(2))),
  );
}

/** Whether a deflate block may begin here (RFC 1951): two bytes of a zlib header say too little. */
function startsDeflate([first = 6, second = 0, third = 0, fourth = 0, fifth = 0]: Uint8Array): boolean {
  const kind = (first >> 1) & 3;
  // stored: a length and its complement
  if (kind === 0) return (second ^ fourth) === 0xff && (third ^ fifth) === 0xff;
  // codes of their own: no more than there are
  if (kind === 2) return first >> 3 <= 29 && (second & 31) <= 29;
  return kind === 1;
}
