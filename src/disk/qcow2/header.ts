import { viewOf } from "../../binary/layout.js";
import { formatError } from "../../findings/diagnostics.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { COMPRESSION_TYPES, INCOMPATIBLE, QCOW2_MAGIC, qcow2Header, qcow2HeaderV3 } from "./layout.js";
import { QCOW2_RULES } from "./rules.js";

/** What the header says of an image, as far as reading needs it. */
export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  /** Bytes of a cluster. */
  readonly clusterSize: number;
  /** Bytes of the virtual disk now; a snapshot has its own. */
  readonly diskSize: number;
  readonly encryption: "AES" | "LUKS" | undefined;
  readonly compression: "deflate" | "zstd";
  /** L2 entries of 16 bytes, with a bitmap of 32 parts of the cluster. */
  readonly extendedL2: boolean;
  readonly externalData: boolean;
  readonly dirty: boolean;
  readonly corrupt: boolean;
  /** Name of the backing file. It never holds VM state. */
  readonly backingFile: string | undefined;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  /** The active L1 table: the virtual disk as it is now. */
  readonly l1: { readonly offset: number; readonly entries: number };
}

/** By QEMU (block/qcow2.h): MIN_CLUSTER_BITS, MAX_CLUSTER_BITS. */
const FEWEST_BITS = 9;
const MOST_BITS = 21;
/** Extended L2 entries need clusters of 32 sectors at least. */
const FEWEST_BITS_EXTENDED = 14;
/** QEMU takes no longer name. */
const LONGEST_BACKING_NAME = 1023;
const HEADER_V3 = qcow2Header.size + qcow2HeaderV3.size;
const KNOWN_FEATURES = Object.values<bigint>(INCOMPATIBLE).reduce((mask, bit) => mask | (1n << bit), 0n);

/** Whether an input begins like a qcow2 image of a version that has snapshots with VM state. */
export function isQcow2(head: Uint8Array): boolean {
  return head.length >= 8 && viewOf(head).getUint32(0, false) === QCOW2_MAGIC;
}

/**
 * Reads an image's header.
 * @throws FormatError `disk/qcow2/header`, `disk/qcow2/version` or `disk/qcow2/feature`
 */
export async function readHeader(source: ByteSource): Promise<Qcow2Header> {
  const bytes = new Uint8Array(HEADER_V3 + 1);
  const n = await readFully(source, 0, bytes);
  const view = viewOf(bytes);
  const fail = (field: keyof typeof QCOW2_RULES, offset: number, message: string): never => {
    throw formatError(QCOW2_RULES[field], source.name, { offset }, message);
  };
  if (n < qcow2Header.size)
    fail("header", n, `the file ends ${qcow2Header.size - n} bytes before its header does`);
  const version = view.getUint32(qcow2Header.offsetOf("version"), false);
  if (version !== 2 && version !== 3)
    return fail("version", qcow2Header.offsetOf("version"), `version ${version}`);
  for (const field of [
    "size",
    "l1_table_offset",
    "snapshots_offset",
    "backing_file_offset",
    "refcount_table_offset",
  ] as const) {
    const at = qcow2Header.offsetOf(field);
    const value = view.getBigUint64(at, false);
    if (value >= 2n ** 53n) fail("header", at, `${field} is 0x${value.toString(16)}`);
  }
  const header = qcow2Header.read(view, 0, "big");
  let incompatible = 0n;
  let compressionType = 0;
  if (version === 3) {
    if (n < HEADER_V3) fail("header", n, `the file ends ${HEADER_V3 - n} bytes before its header does`);
    const more = qcow2HeaderV3.read(view, qcow2Header.size, "big");
    const lengthAt = qcow2Header.size + qcow2HeaderV3.offsetOf("header_length");
    if (more.header_length < HEADER_V3) fail("header", lengthAt, `header_length is ${more.header_length}`);
    incompatible = more.incompatible_features;
    if (more.header_length > HEADER_V3 && n > HEADER_V3) compressionType = bytes[HEADER_V3] ?? 0;
  }
  const has = (bit: bigint): boolean => ((incompatible >> bit) & 1n) === 1n;
  const featuresAt = qcow2Header.size + qcow2HeaderV3.offsetOf("incompatible_features");
  const unknown = incompatible & ~KNOWN_FEATURES;
  if (unknown !== 0n)
    fail("feature", featuresAt, `incompatible features 0x${unknown.toString(16)} are unknown`);
  const compression = COMPRESSION_TYPES[compressionType];
  if (compression === undefined)
    return fail("feature", HEADER_V3, `compression type ${compressionType} is unknown`);
  const extendedL2 = has(INCOMPATIBLE.extendedL2);
  const bits = header.cluster_bits;
  if (bits < (extendedL2 ? FEWEST_BITS_EXTENDED : FEWEST_BITS) || bits > MOST_BITS)
    fail("header", qcow2Header.offsetOf("cluster_bits"), `cluster_bits is ${bits}`);
  const method = header.crypt_method;
  if (method > 2)
    fail("feature", qcow2Header.offsetOf("crypt_method"), `encryption method ${method} is unknown`);
  return {
    version,
    clusterBits: bits,
    clusterSize: 2 ** bits,
    diskSize: header.size,
    encryption: method === 1 ? "AES" : method === 2 ? "LUKS" : undefined,
    compression,
    extendedL2,
    externalData: has(INCOMPATIBLE.externalData),
    dirty: has(INCOMPATIBLE.dirty),
    corrupt: has(INCOMPATIBLE.corrupt),
    backingFile: await backingName(source, header.backing_file_offset, header.backing_file_size),
    snapshotCount: header.nb_snapshots,
    snapshotsOffset: header.snapshots_offset,
    l1: { offset: header.l1_table_offset, entries: header.l1_size },
  };
}

async function backingName(source: ByteSource, offset: number, size: number): Promise<string | undefined> {
  if (offset === 0 || size === 0) return undefined;
  const bytes = new Uint8Array(Math.min(size, LONGEST_BACKING_NAME));
  return new TextDecoder().decode(bytes.subarray(0, await readFully(source, offset, bytes)));
}

/** Virtual bytes that one L2 table maps. */
export function l2Coverage({ clusterBits, extendedL2 }: Qcow2Header): number {
  return 2 ** (2 * clusterBits - (extendedL2 ? 4 : 3));
}
