import { layout, type RecordOf, u16, u32, u64, u64big } from "../../binary/layout.js";

/** Where the structures are defined. All numbers are big-endian. */
export const QCOW2_SPEC = "QEMU docs/interop/qcow2.txt";

/** `QFI\xfb` as a big-endian word. */
export const QCOW2_MAGIC = 0x5146_49fb;

/** The header of a version 2 image, and the start of a later one's. */
export const qcow2Header = layout("qcow2 header", QCOW2_SPEC, {
  magic: u32("0x514649fb"),
  version: u32("2 or 3"),
  backing_file_offset: u64("offset of the backing file's name; 0: there is none"),
  backing_file_size: u32("length of that name"),
  cluster_bits: u32("a cluster has 2^cluster_bits bytes"),
  size: u64("bytes of the virtual disk"),
  crypt_method: u32("0: none, 1: AES, 2: LUKS"),
  l1_size: u32("entries of the active L1 table"),
  l1_table_offset: u64("offset of the active L1 table"),
  refcount_table_offset: u64("offset of the refcount table"),
  refcount_table_clusters: u32("clusters of the refcount table"),
  nb_snapshots: u32("entries of the snapshot table"),
  snapshots_offset: u64("offset of the snapshot table"),
});

/** The rest of a version 3 header, after the fields of version 2. */
export const qcow2HeaderV3 = layout("qcow2 header, version 3", QCOW2_SPEC, {
  incompatible_features: u64big("bits that a reader must know"),
  compatible_features: u64big("bits that a reader may ignore"),
  autoclear_features: u64big("bits that a writer that doesn't know them clears"),
  refcount_order: u32("a refcount has 2^refcount_order bits"),
  header_length: u32("bytes of the header"),
});

/** One entry of the snapshot table; extra data, id, name and padding to 8 bytes follow. */
export const qcow2Snapshot = layout("qcow2 snapshot table entry", QCOW2_SPEC, {
  l1_table_offset: u64("offset of the snapshot's L1 table"),
  l1_size: u32("entries of that table"),
  id_str_size: u16("length of the id"),
  name_size: u16("length of the name"),
  date_sec: u32("when it was taken: seconds since 1970"),
  date_nsec: u32("nanoseconds of that second"),
  vm_clock_nsec: u64big("how long the guest had run: nanoseconds"),
  vm_state_size: u32("bytes of the VM state, if the extra data doesn't say; 0: disk only"),
  extra_data_size: u32("bytes of extra data"),
});

/** Extra data of a snapshot: as much of it as there is counts. */
export const qcow2SnapshotExtra = layout("qcow2 snapshot extra data", QCOW2_SPEC, {
  vm_state_size_large: u64("bytes of the VM state"),
  disk_size: u64("bytes of the virtual disk when the snapshot was taken"),
  icount: u64big("instructions the guest had run under -icount; all ones: not counted"),
});

export type Qcow2Snapshot = RecordOf<typeof qcow2Snapshot>;

/** Bits of `incompatible_features`. */
export const INCOMPATIBLE = {
  dirty: 0n,
  corrupt: 1n,
  externalData: 2n,
  compressionType: 3n,
  extendedL2: 4n,
} as const;

/** Values of the compression type's byte, the first after the header of 104 bytes. */
export const COMPRESSION_TYPES: Readonly<Record<number, "deflate" | "zstd">> = { 0: "deflate", 1: "zstd" };
