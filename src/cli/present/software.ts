import type { GuestInspection } from "../../guest/inspection.js";
import { factLines } from "./presenter.js";

/** What the guest was running, where an inspection tells; nothing for one that looked at no memory. */
export function softwareLines(inspection: GuestInspection): readonly string[] {
  const { software } = inspection;
  const info = software?.vmcoreInfo;
  const where = info?.gpa === undefined ? "" : ` at ${info.gpa}`;
  const blocks = [
    factLines("Running", [
      ["kernel", software?.banner],
      ["VMCOREINFO", info === undefined ? undefined : `${info.release ?? "found"}${where}`],
      ...(software?.code ?? []).map(({ vcpu, bytes }) => [`code of vCPU ${vcpu}`, bytes] as [string, string]),
    ]),
  ];
  return blocks.flatMap((block) => (block.length === 0 ? [] : ["", ...block]));
}
