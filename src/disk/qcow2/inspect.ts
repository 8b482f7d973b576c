import type { Report } from "../../findings/report.js";
import type { GuestInspection } from "../../guest/inspection.js";
import type { Qcow2Image } from "./read.js";
import type { Snapshot } from "./snapshots.js";

/** A snapshot as a document. */
export interface SnapshotSummary {
  readonly id: string;
  readonly name: string;
  /** When it was taken, as ISO 8601 in UTC. */
  readonly date: string;
  readonly dateNanoseconds: number;
  /** How long the guest had run, in nanoseconds. */
  readonly clock: bigint;
  /** Bytes of VM state; 0: the disk alone. */
  readonly stateSize: number;
  readonly diskSize: number;
  readonly instructions?: bigint;
}

/** What an image is, and its snapshots. */
export interface Qcow2Details {
  readonly version: number;
  readonly clusterSize: number;
  readonly diskSize: number;
  readonly extendedL2: boolean;
  readonly compression: string;
  readonly encryption?: string;
  readonly backingFile?: string;
  readonly snapshots: readonly SnapshotSummary[];
  /** Name or id of the snapshot whose guest is described. */
  readonly snapshot?: string;
  /** That snapshot's state, as its own format is inspected. */
  readonly state?: GuestInspection;
}

/** A qcow2 image as a document: with the guest of one snapshot, where one is chosen. */
export type Qcow2Inspection = GuestInspection<"qcow2", Qcow2Details>;

/** The document of an image, with what was found wrong while it was read. */
export function describeImage({ source, header, snapshots }: Qcow2Image, report: Report): Qcow2Inspection {
  const { version, clusterSize, diskSize, extendedL2, compression, encryption, backingFile } = header;
  return {
    schemaVersion: 2,
    kind: "qcow2",
    source: source.name,
    origin: "qcow2 disk image",
    damage: report.findings.filter(({ severity }) => severity === "error"),
    warnings: report.findings.filter(({ severity }) => severity === "warning").map(({ message }) => message),
    details: {
      version,
      clusterSize,
      diskSize,
      extendedL2,
      compression,
      ...(encryption === undefined ? {} : { encryption }),
      ...(backingFile === undefined ? {} : { backingFile }),
      snapshots: snapshots.map(summarize),
    },
  };
}

function summarize(snapshot: Snapshot): SnapshotSummary {
  const { id, name, date, dateNanoseconds, clock, stateSize, diskSize, instructions } = snapshot;
  return {
    id,
    name,
    date: new Date(date).toISOString().replace(".000Z", "Z"),
    dateNanoseconds,
    clock,
    stateSize,
    diskSize,
    ...(instructions === undefined ? {} : { instructions }),
  };
}
