import { type RuleDeclaration, rules, type Severity } from "../../findings/rule.js";
import { QCOW2_SPEC } from "./layout.js";

const rule = (code: string, severity: Severity, section: string, explanation: string): RuleDeclaration => ({
  code: `disk/qcow2/${code}`,
  severity,
  spec: `${QCOW2_SPEC}: ${section}`,
  explanation,
});

/** What can be wrong with a qcow2 image, as far as its snapshots' VM states are concerned. */
export const QCOW2_RULES = rules({
  header: rule(
    "header",
    "error",
    "Header",
    "The image's header is cut off, or a field of it is out of range: a cluster has 2^9 to 2^21 bytes, 2^14 at least with extended L2 entries. Nothing can be found without it.",
  ),
  version: rule(
    "version",
    "error",
    "Header",
    "A version of the format that doesn't exist: there are 2 and 3.",
  ),
  feature: rule(
    "feature",
    "error",
    "Header, incompatible features",
    "The image uses a feature that is unknown here, such as another compression type. Such an image can't be read by its rules.",
  ),
  unclean: rule(
    "unclean",
    "warning",
    "Header, incompatible features",
    "The image is marked dirty (its refcounts may be stale) or corrupt. Reading goes by the L1 and L2 tables, which QEMU writes in order, so a VM state is usually sound. 'qemu-img check -r all' repairs a copy.",
  ),
  encrypted: rule(
    "encrypted",
    "error",
    "Header, crypt_method",
    "The clusters are encrypted, the VM state's included. Decrypt the image first: 'qemu-img amend' or a guest started from it can save its state unencrypted; snapshots don't survive 'qemu-img convert'.",
  ),
  externalData: rule(
    "external-data-file",
    "error",
    "Header, incompatible features",
    "The clusters are in another file. QEMU makes no internal snapshots of such an image, so there is no VM state to read.",
  ),
  snapshotTable: rule(
    "snapshot-table",
    "error",
    "Snapshots",
    "The snapshot table is outside the file, ends with it, or has more entries or longer ones than QEMU takes. Entries up to that place are read.",
  ),
  snapshotId: rule(
    "snapshot-id",
    "error",
    "Snapshots",
    "Two snapshots have the same id, or one has none: QEMU gives every snapshot an id of its own.",
  ),
  snapshotName: rule(
    "snapshot-name",
    "note",
    "Snapshots",
    "Two snapshots have the same name: QEMU allows that. Choose one by its id.",
  ),
  l1Table: rule(
    "l1-table",
    "error",
    "Cluster mapping",
    "A snapshot's L1 table is larger than QEMU takes, doesn't start at a cluster, or is outside the file. Its VM state can't be found.",
  ),
  stateSize: rule(
    "state-size",
    "error",
    "Snapshots",
    "The VM state is larger than what the snapshot's L1 table reaches. What is beyond would read as zeros, which nobody saved.",
  ),
  l2Table: rule(
    "l2-table",
    "error",
    "Cluster mapping",
    "An L1 entry points at an L2 table that doesn't start at a cluster or is outside the file, or has reserved bits set. What the table maps is lost.",
  ),
  cluster: rule(
    "cluster",
    "error",
    "Cluster mapping",
    "An L2 entry is impossible: its cluster doesn't start at a multiple of the cluster size, a version 2 image has a zero cluster, or a part of a cluster is zero and allocated at once.",
  ),
  beyondFile: rule(
    "beyond-file",
    "error",
    "Cluster mapping",
    "An L2 entry points at a cluster beyond the end of the file: the image was cut off. That part of the VM state is lost.",
  ),
  compressed: rule(
    "compressed",
    "error",
    "Compressed clusters",
    "A compressed cluster doesn't unpack to one cluster. What it holds is lost.",
  ),
  overlap: rule(
    "overlap",
    "error",
    "Cluster mapping",
    "Two tables or clusters of one VM state have the same place in the file, or one has the place of the header or of the snapshot table. At least one of them isn't what was written.",
  ),
  hole: rule(
    "unallocated-state",
    "warning",
    "Cluster mapping",
    "A part of the VM state was never written. QEMU reads zeros there, and so is it read here.",
  ),
  noState: rule(
    "no-state",
    "note",
    "Snapshots",
    "The image has no snapshot with VM state: disk contents alone, no guest. 'savevm' or 'virsh snapshot-create' of a running guest saves its state, too.",
  ),
  unknownState: rule(
    "unknown-state",
    "error",
    "Snapshots",
    "A snapshot's VM state begins like no format of a saved guest. QEMU writes a migration stream there.",
  ),
});
