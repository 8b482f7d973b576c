import { Report } from "../../findings/report.js";
import type { OpenOptions } from "../../guest/options.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { summarizeGuest } from "../../guest/summary.js";
import type { ByteSource } from "../../io/byte-source.js";
import { xenCoreGuest } from "./guest.js";
import { rescueXenCore } from "./rescue.js";
import { repairFrames, reportRepairs } from "./rescue-frames.js";
import { XEN_CORE_RULES } from "./rules.js";

/** The facts of a Xen core beside the guest's. */
export interface XenCoreDetails {
  readonly guestType: "PV" | "HVM";
  readonly xenVersion?: string | undefined;
  /** Pages that there is room for; those of no frame among them. */
  readonly pages: number;
  readonly pageSize: number;
  readonly sections: readonly { readonly name: string; readonly offset: number; readonly size: number }[];
}

/** What `inspect` says of a Xen core. */
export type XenCoreInspection = GuestInspection<"xen-core", XenCoreDetails>;

/** Describes a Xen core. @throws FormatError when its sections can't be read */
export async function inspectXenCore(
  input: ByteSource,
  options: OpenOptions = {},
): Promise<XenCoreInspection> {
  const { core, lost } = await rescueXenCore(input);
  const report = new Report(input.name);
  for (const { start, what = "" } of lost)
    report.report(XEN_CORE_RULES.sections, { offset: start }, `damaged: ${what}`);
  reportRepairs(core, await repairFrames(core), report);
  return {
    schemaVersion: 2,
    kind: "xen-core",
    source: input.name,
    ...(await summarizeGuest(await xenCoreGuest(core, true, options, lost), options)),
    damage: report.findings,
    details: {
      guestType: core.isPv ? "PV" : "HVM",
      xenVersion: core.version,
      pages: core.pages,
      pageSize: core.pageSize,
      sections: core.sections.slice(1).map(({ name, offset, size }) => ({ name, offset, size })),
    },
  };
}
