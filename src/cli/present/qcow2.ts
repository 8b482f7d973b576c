import type { GuestInspection } from "../../guest/inspection.js";
import type { Qcow2Inspection, SnapshotSummary } from "../../disk/qcow2/inspect.js";
import { hex, size, tableLines } from "../terminal.js";
import { factLines, indented, type PresentOptions } from "./presenter.js";
import { present as presentState } from "./qemu-migration.js";

/** A qcow2 image and its snapshots as text, with the state of one of them. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly string[] {
  const found = inspection as Qcow2Inspection;
  const { damage, details } = found;
  const { snapshots, state } = details;
  return [
    ...factLines("Disk image", [
      ["version", String(details.version)],
      ["disk", size(details.diskSize)],
      ["cluster size", `${size(details.clusterSize)}${details.extendedL2 ? ", extended L2 entries" : ""}`],
      ["compression", details.compression === "deflate" ? undefined : details.compression],
      ["encryption", details.encryption],
      ["backing file", details.backingFile],
    ]),
    "",
    ...(snapshots.length === 0 ? ["no snapshots"] : snapshotLines(snapshots)),
    // what is wrong within the state is listed with the state
    ...(state !== undefined || damage.length === 0
      ? []
      : [
          "",
          "damage",
          ...indented(damage.map(({ offset, message, code }) => `${hex(offset)}: ${message} [${code}]`)),
        ]),
    ...(state === undefined
      ? []
      : [
          "",
          `snapshot '${details.snapshot ?? ""}': ${state.origin}`,
          ...indented(presentState(state, options)),
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
