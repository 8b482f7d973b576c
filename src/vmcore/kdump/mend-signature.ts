import { latin1, viewOf } from "../../binary/layout.js";
import { ELF_MAGIC } from "../../elf/layout.js";
import { type LostPart, patchedSource } from "../../guest/salvage.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import {
  DISKDUMP_SIGNATURE,
  FLATTENED_HEADER_SIZE,
  FLATTENED_SIGNATURE,
  flattenedHeader,
  flattenedRecord,
  headerLayout,
  HEADER_VERSION,
  KDUMP_SIGNATURE,
} from "./layout.js";
import { isBlockSize } from "./read.js";
import { rebuildHeaders } from "./rebuild.js";

/** A dump whose signature is damaged, with one in its place. */
export interface MendedSignature {
  readonly source: ByteSource;
  readonly lost: LostPart;
}

const SIGNATURES = [KDUMP_SIGNATURE, DISKDUMP_SIGNATURE];
const MOST_HEADER_BLOCKS = 1 << 16;
/** Where the table of a dump begins without a word of its header: after the bitmaps of 4 TiB of memory at most. */
const TABLE_WITHIN = 256 << 20;
/** Pages that prove such a dump. */
const LEAST_PAGES = 16;

/**
 * Puts the signature back with which a dump begins, where what follows proves that it is one: of a flattened dump its first
 * record, else descriptors as many as the bitmap's pages, to which the header's numbers lead, or which are found by what they
 * look like. Undefined where the signature is whole, or nothing proves it.
 */
export async function mendSignature(input: ByteSource): Promise<MendedSignature | undefined> {
  const head = new Uint8Array(FLATTENED_HEADER_SIZE + flattenedRecord.size + KDUMP_SIGNATURE.length);
  if ((await readFully(input, 0, head)) < head.length) return undefined;
  const start = latin1(head.subarray(0, 16));
  if (SIGNATURES.some((signature) => start.startsWith(signature))) return undefined;
  if (start.startsWith(`${FLATTENED_SIGNATURE}\0`)) return undefined;
  if (await isFlattenedBody(input, head)) {
    const bytes = flattenedHeader.encode({ signature: FLATTENED_SIGNATURE, type: 1, version: 1 }, "big");
    return {
      source: patchedSource(input, [{ offset: 0, bytes }]),
      lost: { start: 0, end: bytes.length, proof: 2, what: "the signature of a flattened dump" },
    };
  }
  const bytes = new TextEncoder().encode(KDUMP_SIGNATURE);
  const source = patchedSource(input, [{ offset: 0, bytes }]);
  const isNumbered = isHeader(head);
  const rebuilt = await rebuildHeaders(source, undefined, isNumbered ? undefined : TABLE_WITHIN);
  if (rebuilt?.isProven !== true) return undefined;
  // where no number of the header helps, few pages may agree by chance
  if (!isNumbered && (rebuilt.isDenied || rebuilt.pages < LEAST_PAGES)) return undefined;
  return { source, lost: { start: 0, end: bytes.length, proof: 2, what: "the signature of a kdump" } };
}

/** Whether a record begins after a flattened dump's head that holds the start of a dump, and another follows it. */
async function isFlattenedBody(input: ByteSource, head: Uint8Array): Promise<boolean> {
  const size = recordSize(head.subarray(FLATTENED_HEADER_SIZE), 0n);
  const contents = head.subarray(FLATTENED_HEADER_SIZE + flattenedRecord.size);
  const isDump = SIGNATURES.includes(latin1(contents)) || ELF_MAGIC.every((byte, i) => contents[i] === byte);
  if (size === undefined || !isDump) return false;
  const next = new Uint8Array(flattenedRecord.size);
  const at = FLATTENED_HEADER_SIZE + flattenedRecord.size + size;
  if ((await readFully(input, at, next)) < next.length) return false;
  return recordSize(next) !== undefined || next.every((byte) => byte === 0xff);
}

/** Bytes of a flattened record; undefined: none that a dump can have, or one of another place than `at`. */
function recordSize(bytes: Uint8Array, at?: bigint): number | undefined {
  const { offset, size } = flattenedRecord.read(viewOf(bytes), 0, "big");
  if ((at !== undefined && offset !== at) || offset >= BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return size > 0n && size < BigInt(Number.MAX_SAFE_INTEGER) ? Number(size) : undefined;
}

/** Whether numbers after the signature may be a header's, in any form of it. */
function isHeader(head: Uint8Array): boolean {
  return ([64, 32] as const).some((bits) =>
    (["little", "big"] as const).some((order) => {
      const header = headerLayout(bits).read(viewOf(head), 0, order);
      return (
        header.header_version > 0 &&
        header.header_version <= HEADER_VERSION &&
        isBlockSize(header.block_size) &&
        header.sub_hdr_size >= 0 &&
        header.sub_hdr_size < MOST_HEADER_BLOCKS &&
        header.bitmap_blocks > 0
      );
    }),
  );
}
