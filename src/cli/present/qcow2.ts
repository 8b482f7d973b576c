import type { GuestInspection } from "../../guest/inspection.js";
import type { Qcow2Inspection, SnapshotSummary } from "../../disk/qcow2/inspect.js";
import { size, tableLines } from "../terminal.js";
import { facts, type PresentOptions, type Section } from "./presenter.js";
import { present as presentState } from "./qemu-migration.js";

/** A qcow2 image and its snapshots as text, with the state of one of them. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly Section[] {
  const { details } = inspection as Qcow2Inspection;
  const { snapshots, state } = details;
  return [
    {
      title: "Disk image",
      lines: facts([
        ["version", String(details.version)],
        ["disk", size(details.diskSize)],
        ["cluster size", `${size(details.clusterSize)}${details.extendedL2 ? ", extended L2 entries" : ""}`],
        ["compression", details.compression === "deflate" ? undefined : details.compression],
        ["encryption", details.encryption],
        ["backing file", details.backingFile],
      ]),
    },
    snapshots.length === 0
      ? { title: "Snapshots", note: "none", lines: [] }
      : { title: "Snapshots", lines: snapshotLines(snapshots) },
    ...(state === undefined
      ? []
      : [
          { title: "Shown below", note: `snapshot '${details.snapshot ?? ""}', ${state.origin}`, lines: [] },
          ...presentState(state, options),
        ]),
  ];
}

function snapshotLines(snapshots: readonly SnapshotSummary[]): string[] {
  const rows = snapshots.map(({ id, name, stateSize, date, clock }) => [
    id,
    name,
    stateSize === 0 ? "disk only" : size(stateSize),
    date.replace("T", " ").replace("Z", " UTC"),
    clockText(clock),
  ]);
  const titles = [
    { title: "id" },
    { title: "snapshot" },
    { title: "state", align: "right" as const },
    { title: "date" },
    { title: "VM clock", align: "right" as const },
  ];
  return tableLines(titles, rows);
}

/** `00:01:02.345`, as qemu-img prints it. */
function clockText(nanoseconds: bigint): string {
  const seconds = nanoseconds / 1_000_000_000n;
  const part = (value: bigint, digits = 2): string => value.toString().padStart(digits, "0");
  const millis = (nanoseconds / 1_000_000n) % 1000n;
  return `${part(seconds / 3600n)}:${part((seconds / 60n) % 60n)}:${part(seconds % 60n)}.${part(millis, 3)}`;
}
