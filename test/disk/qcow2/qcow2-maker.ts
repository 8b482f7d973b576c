import * as zlib from "node:zlib";
import { compress } from "@bokuweb/zstd-wasm";
import {
  qcow2Header,
  qcow2HeaderV3,
  qcow2Snapshot,
  qcow2SnapshotExtra,
} from "../../../src/disk/qcow2/layout.js";

/** How one cluster of a VM state is kept in the image. */
export type ClusterForm = "plain" | "zero" | "hole" | "compressed";

export interface MadeSnapshot {
  readonly id: string;
  readonly name: string;
  readonly state: Uint8Array;
  readonly diskSize?: number;
  /** Bytes of extra data kept: 0, 8, 16 or 24. */
  readonly extra?: number;
  /** By cluster of the state; plain where there is none. A hole or a zero cluster takes the state's zeros. */
  readonly forms?: readonly ClusterForm[];
}

export interface MadeImage {
  readonly version?: 2 | 3;
  readonly clusterBits?: number;
  readonly extendedL2?: boolean;
  readonly compression?: "deflate" | "zstd";
  readonly diskSize?: number;
  /** Clusters are put in the file in another order. */
  readonly shuffled?: boolean;
  readonly snapshots: readonly MadeSnapshot[];
}

/** Writes qcow2 images by the format's description, for forms that QEMU doesn't make by itself. Refcounts are left out. */
export function makeImage(image: MadeImage): Uint8Array {
  const { version = 3, clusterBits = 12, extendedL2 = false, compression = "deflate" } = image;
  const { diskSize = 1 << 20, shuffled = false } = image;
  const clusterSize = 1 << clusterBits;
  const entrySize = extendedL2 ? 16 : 8;
  const perTable = clusterSize / entrySize;
  const coverage = perTable * clusterSize;
  const clusters: Uint8Array[] = [new Uint8Array(clusterSize)];
  const allocate = (bytes: Uint8Array): number => {
    const at = clusters.length * clusterSize;
    for (let done = 0; done < Math.max(1, bytes.length); done += clusterSize) {
      const cluster = new Uint8Array(clusterSize);
      cluster.set(bytes.subarray(done, done + clusterSize));
      clusters.push(cluster);
    }
    return at;
  };
  const pack = (bytes: Uint8Array): Uint8Array =>
    compression === "zstd"
      ? compress(Buffer.from(bytes), 3)
      : zlib.deflateRawSync(bytes, { windowBits: 12, level: 9 });

  const entries = image.snapshots.map((snapshot) => {
    const { state, forms = [] } = snapshot;
    const disk = snapshot.diskSize ?? diskSize;
    const firstTable = Math.ceil(disk / coverage);
    const count = Math.ceil(state.length / clusterSize);
    const order = Array.from({ length: count }, (_, i) => i);
    if (shuffled) order.sort((a, b) => ((a * 7919) % count) - ((b * 7919) % count) || a - b);
    const l2Entries = new Map<number, readonly [bigint, bigint]>();
    for (const i of order) {
      const cluster = new Uint8Array(clusterSize);
      cluster.set(state.subarray(i * clusterSize, (i + 1) * clusterSize));
      const form = forms[i] ?? "plain";
      if (form === "hole") continue;
      if (form === "zero") l2Entries.set(i, extendedL2 ? [0n, 0xffff_ffffn << 32n] : [1n, 0n]);
      else if (form === "compressed") {
        // in the middle of a sector, with other data after it
        const packed = pack(cluster);
        const padded = new Uint8Array(100 + packed.length + 700).fill(0xa5);
        padded.set(packed, 100);
        const at = allocate(padded) + 100;
        const sectors = BigInt(Math.floor((at + packed.length - 1) / 512) - Math.floor(at / 512));
        l2Entries.set(i, [(1n << 62n) | (sectors << BigInt(62 - (clusterBits - 8))) | BigInt(at), 0n]);
      } else l2Entries.set(i, [BigInt(allocate(cluster)) | (1n << 63n), 0xffff_ffffn]);
    }
    const tables = Math.ceil(count / perTable);
    const l1 = new DataView(new ArrayBuffer((firstTable + tables) * 8));
    for (let t = 0; t < tables; t += 1) {
      const table = new DataView(new ArrayBuffer(clusterSize));
      for (let i = 0; i < perTable; i += 1) {
        const [entry, bitmap] = l2Entries.get(t * perTable + i) ?? [0n, 0n];
        table.setBigUint64(i * entrySize, entry);
        if (extendedL2) table.setBigUint64(i * entrySize + 8, bitmap);
      }
      l1.setBigUint64((firstTable + t) * 8, BigInt(allocate(new Uint8Array(table.buffer))) | (1n << 63n));
    }
    return { snapshot, l1Offset: allocate(new Uint8Array(l1.buffer)), l1Size: l1.byteLength / 8, disk };
  });

  const parts = entries.flatMap(({ snapshot, l1Offset, l1Size, disk }) => {
    const { id, name, state, extra = 24 } = snapshot;
    const encoder = new TextEncoder();
    const [idBytes, nameBytes] = [encoder.encode(id), encoder.encode(name)];
    const head = qcow2Snapshot.encode(
      {
        l1_table_offset: l1Offset,
        l1_size: l1Size,
        id_str_size: idBytes.length,
        name_size: nameBytes.length,
        date_sec: 1_700_000_000,
        date_nsec: 5,
        vm_clock_nsec: 1_234_567_890n,
        vm_state_size: state.length,
        extra_data_size: extra,
      },
      "big",
    );
    const extraBytes = qcow2SnapshotExtra
      .encode({ vm_state_size_large: state.length, disk_size: disk, icount: 2n ** 64n - 1n }, "big")
      .subarray(0, extra);
    const size = head.length + extra + idBytes.length + nameBytes.length;
    return [head, extraBytes, idBytes, nameBytes, new Uint8Array((8 - (size % 8)) % 8)];
  });
  const snapshotsOffset = entries.length === 0 ? 0 : allocate(new Uint8Array(Buffer.concat(parts)));
  const activeL1 = allocate(new Uint8Array(8));
  const header = clusters[0] ?? new Uint8Array(0);
  header.set(
    qcow2Header.encode(
      {
        magic: 0x5146_49fb,
        version,
        backing_file_offset: 0,
        backing_file_size: 0,
        cluster_bits: clusterBits,
        size: diskSize,
        crypt_method: 0,
        l1_size: 1,
        l1_table_offset: activeL1,
        refcount_table_offset: 0,
        refcount_table_clusters: 0,
        nb_snapshots: entries.length,
        snapshots_offset: snapshotsOffset,
      },
      "big",
    ),
  );
  if (version === 3) {
    const isZstd = compression === "zstd";
    header.set(
      qcow2HeaderV3.encode(
        {
          incompatible_features: (isZstd ? 8n : 0n) | (extendedL2 ? 16n : 0n),
          compatible_features: 0n,
          autoclear_features: 0n,
          refcount_order: 4,
          header_length: 112,
        },
        "big",
      ),
      qcow2Header.size,
    );
    header[104] = isZstd ? 1 : 0;
  }
  return new Uint8Array(Buffer.concat(clusters));
}

/** Bytes that are no run of zeros and pack well enough. */
export function sampleBytes(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let word = seed;
  for (let i = 0; i < length; i += 1) {
    if (i % 16 === 0) word = (Math.imul(word, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = (word >>> 16) | 1;
  }
  return bytes;
}
