import { execFileSync } from "node:child_process";
import type { SnapshotSummary } from "../../../src/disk/qcow2/inspect.js";

interface QemuSnapshot {
  readonly id: string;
  readonly name: string;
  readonly "vm-state-size": number;
  readonly "date-sec": number;
  readonly "date-nsec": number;
  readonly "vm-clock-sec": number;
  readonly "vm-clock-nsec": number;
  readonly icount?: number;
}

/** What qemu-img says of an image's snapshots, in the form of our own list. */
export function qemuSnapshots(file: string): Omit<SnapshotSummary, "diskSize">[] {
  const text = execFileSync("qemu-img", ["info", "-U", "--output=json", file], { encoding: "utf8" });
  const { snapshots = [] } = JSON.parse(text) as { snapshots?: readonly QemuSnapshot[] };
  return snapshots.map((snapshot) => ({
    id: snapshot.id,
    name: snapshot.name,
    stateSize: snapshot["vm-state-size"],
    date: new Date(snapshot["date-sec"] * 1000).toISOString().replace(".000Z", "Z"),
    dateNanoseconds: snapshot["date-nsec"],
    clock: BigInt(snapshot["vm-clock-sec"]) * 1_000_000_000n + BigInt(snapshot["vm-clock-nsec"]),
    ...(snapshot.icount === undefined ? {} : { instructions: BigInt(snapshot.icount) }),
  }));
}
