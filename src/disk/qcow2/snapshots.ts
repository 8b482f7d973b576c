import { viewOf } from "../../binary/layout.js";
import { type Diagnostics, formatError } from "../../findings/diagnostics.js";
import { ByteReader } from "../../io/byte-reader.js";
import type { ByteSource } from "../../io/byte-source.js";
import { type Remedy, UsageError } from "../../findings/errors.js";
import { l2Coverage, type Qcow2Header } from "./header.js";
import { qcow2Header, qcow2HeaderV3, qcow2Snapshot, qcow2SnapshotExtra } from "./layout.js";
import { QCOW2_RULES } from "./rules.js";

/** One snapshot of an image. */
export interface Snapshot {
  readonly id: string;
  readonly name: string;
  /** When it was taken: milliseconds since 1970, and nanoseconds of the second. */
  readonly date: number;
  readonly dateNanoseconds: number;
  /** How long the guest had run, in nanoseconds. */
  readonly clock: bigint;
  /** Bytes of VM state; 0: the disk alone. */
  readonly stateSize: number;
  /** Virtual offset of the VM state: beyond the disk of that time. */
  readonly stateOffset: number;
  /** Bytes of the virtual disk when it was taken. */
  readonly diskSize: number;
  /** Instructions the guest had run, where they were counted. */
  readonly instructions: bigint | undefined;
  /** The snapshot's own L1 table: offset in the file, entries of 8 bytes. */
  readonly l1: { readonly offset: number; readonly entries: number };
  /** Offset of its entry in the file. */
  readonly offset: number;
}

/** By QEMU (block/qcow2.h): QCOW_MAX_SNAPSHOTS, QCOW_MAX_SNAPSHOT_EXTRA_DATA, QCOW_MAX_SNAPSHOTS_SIZE. */
const MOST_SNAPSHOTS = 65_536;
const MOST_EXTRA = 1024;
const LARGEST_TABLE = MOST_SNAPSHOTS * 1024;
/** Bytes read at a time: a table has a few hundred. */
const WINDOW = 64 << 10;
const NOT_COUNTED = 2n ** 64n - 1n;

/**
 * Reads the snapshot table as far as it is sound; what is wrong goes to `report`.
 * Reads the table alone: neither L1 tables nor clusters.
 */
export async function readSnapshots(
  source: ByteSource,
  header: Qcow2Header,
  diagnostics: Diagnostics,
): Promise<readonly Snapshot[]> {
  const { snapshotCount, snapshotsOffset } = header;
  const snapshots: Snapshot[] = [];
  if (snapshotCount === 0) return snapshots;
  const wrong = (offset: number, message: string): void =>
    diagnostics.report(QCOW2_RULES.snapshotTable, { offset }, message);
  if (snapshotCount > MOST_SNAPSHOTS)
    wrong(snapshotsOffset, `the header announces ${snapshotCount} snapshots`);
  if (snapshotsOffset % header.clusterSize !== 0)
    wrong(snapshotsOffset, `the snapshot table's offset 0x${snapshotsOffset.toString(16)} is no cluster's`);
  const reader = new ByteReader(source, { start: snapshotsOffset, window: WINDOW });
  for (let i = 0; i < Math.min(snapshotCount, MOST_SNAPSHOTS); i += 1) {
    const offset = reader.position;
    if (offset - snapshotsOffset > LARGEST_TABLE) {
      wrong(offset, `the snapshot table is larger than ${LARGEST_TABLE} bytes`);
      break;
    }
    const found = await readEntry(reader, header);
    if (typeof found === "string") {
      wrong(offset, `entry ${i} of ${snapshotCount}: ${found}`);
      break;
    }
    snapshots.push(found);
  }
  checkNames(snapshots, diagnostics);
  return snapshots;
}

/** The next entry, or what is wrong with it. */
async function readEntry(reader: ByteReader, header: Qcow2Header): Promise<Snapshot | string> {
  const offset = reader.position;
  const cut = `the file ends within it or before it (at 0x${(reader.size ?? 0).toString(16)})`;
  if (!(await reader.need(qcow2Snapshot.size))) return cut;
  const l1At = reader.at + qcow2Snapshot.offsetOf("l1_table_offset");
  if (reader.view.getBigUint64(l1At, false) >= 2n ** 53n) return "its L1 table is beyond any file";
  const entry = qcow2Snapshot.read(reader.view, reader.at, "big");
  const { extra_data_size: extraSize, id_str_size: idSize, name_size: nameSize } = entry;
  if (extraSize > MOST_EXTRA) return `${extraSize} bytes of extra data are more than QEMU takes`;
  const unpadded = qcow2Snapshot.size + extraSize + idSize + nameSize;
  if (!(await reader.need(unpadded))) return cut;
  const bytes = reader.take(unpadded).slice();
  const extra = bytes.subarray(qcow2Snapshot.size, qcow2Snapshot.size + extraSize);
  const id = new TextDecoder().decode(bytes.subarray(qcow2Snapshot.size + extraSize, unpadded - nameSize));
  const name = new TextDecoder().decode(bytes.subarray(unpadded - nameSize));
  await reader.skip((8 - (unpadded % 8)) % 8);
  const extraField = (field: "vm_state_size_large" | "disk_size" | "icount"): bigint | undefined => {
    const at = qcow2SnapshotExtra.offsetOf(field);
    return extra.length < at + 8 ? undefined : viewOf(extra).getBigUint64(at, false);
  };
  const stateSize = extraField("vm_state_size_large") ?? BigInt(entry.vm_state_size);
  const diskSize = extraField("disk_size") ?? BigInt(header.diskSize);
  const instructions = extraField("icount");
  const coverage = l2Coverage(header);
  if (stateSize >= 2n ** 53n || diskSize >= 2n ** 52n)
    return `a VM state of ${stateSize} bytes after a disk of ${diskSize} bytes can't be`;
  return {
    id,
    name,
    date: entry.date_sec * 1000,
    dateNanoseconds: entry.date_nsec,
    clock: entry.vm_clock_nsec,
    stateSize: Number(stateSize),
    // by QEMU's qcow2_vm_state_offset: the first byte that an L2 table of its own maps
    stateOffset: Math.ceil(Number(diskSize) / coverage) * coverage,
    diskSize: Number(diskSize),
    instructions: instructions === NOT_COUNTED ? undefined : instructions,
    l1: { offset: entry.l1_table_offset, entries: entry.l1_size },
    offset,
  };
}

function checkNames(snapshots: readonly Snapshot[], diagnostics: Diagnostics): void {
  const ids = new Set<string>();
  const names = new Set<string>();
  for (const { id, name, offset } of snapshots) {
    if (id === "") diagnostics.report(QCOW2_RULES.snapshotId, { offset }, `snapshot '${name}' has no id`);
    else if (ids.has(id))
      diagnostics.report(QCOW2_RULES.snapshotId, { offset }, `another snapshot has the id '${id}', too`);
    if (names.has(name) && name !== "")
      diagnostics.report(
        QCOW2_RULES.snapshotName,
        { offset },
        `another snapshot has the name '${name}', too`,
      );
    ids.add(id);
    names.add(name);
  }
}

/**
 * The snapshot that is meant: by its id first, as qemu-img does, then by its name; without either the only one with
 * VM state.
 * @throws FormatError `disk/qcow2/no-state`; UsageError when none or more than one is meant, with what there is
 */
export function chooseSnapshot(
  snapshots: readonly Snapshot[],
  wanted: string | undefined,
  source: string,
): Snapshot {
  const withState = snapshots.filter(({ stateSize }) => stateSize > 0);
  if (wanted === undefined) {
    const [only] = withState;
    if (only !== undefined && withState.length === 1) return only;
    if (withState.length === 0) {
      const has = snapshots.length === 0 ? "has no snapshot" : "has snapshots of the disk alone";
      throw formatError(
        QCOW2_RULES.noState,
        source,
        { offset: qcow2Header.offsetOf("nb_snapshots") },
        `the disk image ${has}: there is no guest's state in it`,
      );
    }
    throw new UsageError(`which snapshot? The disk image has ${listed(withState)}`, { source }, REMEDY);
  }
  const byId = snapshots.filter(({ id }) => id === wanted);
  const found = byId.length > 0 ? byId : snapshots.filter(({ name }) => name === wanted);
  const [snapshot] = found;
  if (snapshot === undefined) {
    const has = snapshots.length === 0 ? "has none" : `has ${listed(snapshots)}`;
    throw new UsageError(`no snapshot '${wanted}': the disk image ${has}`, { source });
  }
  if (found.length > 1)
    throw new UsageError(`which snapshot '${wanted}'? There are ${listed(found)}`, { source });
  if (snapshot.stateSize === 0)
    throw new UsageError(`snapshot '${wanted}' holds the disk alone: there is no guest's state in it`, {
      source,
    });
  return snapshot;
}

/** One has to be chosen. */
const REMEDY: Remedy = { option: "snapshot", effect: "chooses one by its id or name" };

/** Snapshots named in a message. */
const MOST_LISTED = 20;

function listed(snapshots: readonly Snapshot[]): string {
  const shown = snapshots.slice(0, MOST_LISTED).map(({ id, name }) => `'${name}' (id ${id})`);
  const rest = snapshots.length - shown.length;
  return `${shown.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

/** @throws FormatError for an image whose clusters can't be read: encrypted, or in another file */
export function needReadable(header: Qcow2Header, source: string): void {
  const { encryption, externalData } = header;
  if (encryption !== undefined)
    throw formatError(
      QCOW2_RULES.encrypted,
      source,
      { offset: qcow2Header.offsetOf("crypt_method") },
      `the image is encrypted (${encryption})`,
    );
  if (externalData)
    throw formatError(
      QCOW2_RULES.externalData,
      source,
      { offset: qcow2Header.size + qcow2HeaderV3.offsetOf("incompatible_features") },
      "the image's clusters are in another file",
    );
}
