import { Report } from "../../findings/report.js";
import type { OpenOptions } from "../../guest/options.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { summarizeGuest } from "../../guest/summary.js";
import type { ByteSource } from "../../io/byte-source.js";
import { guestOf } from "./guest.js";
import { openVmcore, reportRescue, type VmcoreSegment } from "./read.js";

/** The facts of an ELF vmcore beside the guest's. */
export interface ElfVmcoreDetails {
  readonly bits: 32 | 64;
  readonly order: "little" | "big";
  /** Decimal numbers; virtual addresses as 0x texts. */
  readonly segments: readonly (Omit<VmcoreSegment, "virtual"> & { readonly virtual: string })[];
  readonly notes: readonly { readonly name: string; readonly type: number; readonly size: number }[];
}

/** What `inspect` says of an ELF vmcore. */
export type ElfVmcoreInspection = GuestInspection<"elf-vmcore", ElfVmcoreDetails>;

/** Describes an ELF vmcore. @throws FormatError when its headers can't be read */
export async function inspectElf(input: ByteSource, options: OpenOptions = {}): Promise<ElfVmcoreInspection> {
  const opened = await openVmcore(input, true);
  const report = new Report(input.name);
  reportRescue(opened.rescued, report);
  const { elf, segments, notes } = opened;
  return {
    schemaVersion: 2,
    kind: "elf-vmcore",
    source: input.name,
    ...(await summarizeGuest(await guestOf(opened, options), options)),
    damage: report.findings,
    details: {
      bits: elf.bits,
      order: elf.order,
      segments: segments.map((segment) => ({ ...segment, virtual: `0x${segment.virtual.toString(16)}` })),
      notes: notes.map(({ name, type, descriptor }) => ({ name, type, size: descriptor.length })),
    },
  };
}
