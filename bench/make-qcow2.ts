import * as fs from "node:fs";
import {
  QCOW2_MAGIC,
  qcow2Header,
  qcow2HeaderV3,
  qcow2Snapshot,
  qcow2SnapshotExtra,
} from "../src/disk/qcow2/layout.js";

const CLUSTER_BITS = 16;
const CLUSTER = 1 << CLUSTER_BITS;
const PER_TABLE = CLUSTER / 8;
/** Of L1 and L2 entries: the cluster is this one's alone. */
const COPIED = 1n << 63n;

/** Writes a qcow2 image of `diskSize` bytes, of which nothing is written, whose one snapshot `snap` has a file as its state. */
export function makeQcow2(file: string, stateFile: string, diskSize: number): void {
  const state = fs.statSync(stateFile).size;
  const clusters = Math.ceil(state / CLUSTER);
  const coverage = PER_TABLE * CLUSTER;
  const first = Math.ceil(diskSize / coverage);
  const tables = Math.ceil(clusters / PER_TABLE);
  const l1Size = first + tables;
  const [l1At, snapshotsAt, l2At] = [CLUSTER, 2 * CLUSTER, 3 * CLUSTER];
  const dataAt = l2At + tables * CLUSTER;
  if (l1Size * 8 > CLUSTER) throw new Error("bench: the disk is larger than one cluster of L1 entries has");

  const fd = fs.openSync(file, "w");
  const put = (bytes: Uint8Array, at: number): void => {
    fs.writeSync(fd, bytes, 0, bytes.length, at);
  };
  const zero = {
    refcount_table_offset: 0,
    refcount_table_clusters: 0,
    backing_file_offset: 0,
    backing_file_size: 0,
  };
  put(
    qcow2Header.encode(
      {
        ...zero,
        magic: QCOW2_MAGIC,
        version: 3,
        cluster_bits: CLUSTER_BITS,
        size: diskSize,
        crypt_method: 0,
        l1_size: first,
        l1_table_offset: l1At,
        nb_snapshots: 1,
        snapshots_offset: snapshotsAt,
      },
      "big",
    ),
    0,
  );
  const features = { incompatible_features: 0n, compatible_features: 0n, autoclear_features: 0n };
  const header = qcow2Header.size;
  put(
    qcow2HeaderV3.encode(
      { ...features, refcount_order: 4, header_length: header + qcow2HeaderV3.size },
      "big",
    ),
    header,
  );
  const l1 = Buffer.alloc(CLUSTER);
  for (let i = 0; i < tables; i += 1)
    l1.writeBigUInt64BE(COPIED | BigInt(l2At + i * CLUSTER), (first + i) * 8);
  put(l1, l1At);
  const entry = {
    l1_table_offset: l1At,
    l1_size: l1Size,
    id_str_size: 1,
    name_size: 4,
    date_sec: 0,
    date_nsec: 0,
    vm_clock_nsec: 0n,
    vm_state_size: 0,
    extra_data_size: qcow2SnapshotExtra.size,
  };
  const extra = { vm_state_size_large: state, disk_size: diskSize, icount: 0xffff_ffff_ffff_ffffn };
  put(
    Buffer.concat([
      qcow2Snapshot.encode(entry, "big"),
      qcow2SnapshotExtra.encode(extra, "big"),
      Buffer.from("1snap\0\0\0"),
    ]),
    snapshotsAt,
  );
  const l2 = Buffer.alloc(tables * CLUSTER);
  for (let i = 0; i < clusters; i += 1) l2.writeBigUInt64BE(COPIED | BigInt(dataAt + i * CLUSTER), i * 8);
  put(l2, l2At);
  const input = fs.openSync(stateFile, "r");
  const buffer = Buffer.alloc(4 << 20);
  for (let at = 0; at < state; ) {
    const n = fs.readSync(input, buffer, 0, buffer.length, at);
    put(buffer.subarray(0, n), dataAt + at);
    at += n;
  }
  fs.ftruncateSync(fd, dataAt + clusters * CLUSTER);
  fs.closeSync(input);
  fs.closeSync(fd);
}
