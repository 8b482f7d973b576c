import { formatError } from "../../findings/diagnostics.js";
import type { GuestInspection } from "../../guest/inspection.js";
import type { OpenOptions } from "../../guest/options.js";
import { summarizeGuest } from "../../guest/summary.js";
import type { ByteSource } from "../../io/byte-source.js";
import { kdumpGuest } from "./guest.js";
import { COMPRESSION_BY_FLAG, type KdumpCounts } from "./memory.js";
import { openKdump } from "./open.js";
import { KDUMP_RULES } from "./rules.js";

/** The facts of a kdump-compressed dump beside the guest's. Addresses and 64-bit values are decimal or 0x texts. */
export interface KdumpDetails {
  readonly bits: 32 | 64;
  readonly order: "little" | "big";
  readonly headerVersion: number;
  readonly uname: Readonly<Record<string, string>>;
  readonly blockSize: number;
  /** Compressions that the header announces. */
  readonly compressions: readonly string[];
  readonly incomplete: boolean;
  readonly flattened?: { readonly records: number; readonly complete: boolean; readonly overlaps: number };
  readonly dumpLevel: number;
  readonly split?: {
    readonly parts: readonly {
      readonly source: string;
      readonly firstFrame: number;
      readonly endFrame: number;
    }[];
  };
  readonly physBase: { readonly header: string; readonly vmcoreInfo?: string };
  readonly frames: number;
  readonly pages: KdumpCounts;
  readonly notes: readonly { readonly name: string; readonly type: number; readonly size: number }[];
}

/** What `inspect` says of a kdump-compressed dump. */
export type KdumpInspection = GuestInspection<"kdump", KdumpDetails>;

/** Describes a kdump-compressed dump. @throws FormatError when its headers can't be read */
export async function inspectKdump(input: ByteSource, options: OpenOptions): Promise<KdumpInspection> {
  const opened = await openKdump(input, options);
  const { files, counts } = opened;
  const [file] = files;
  if (file === undefined)
    throw formatError(KDUMP_RULES.signature, input.name, { offset: 0 }, "not a kdump-compressed dump");
  const { header, subHeader, flattened } = file;
  const { sysname, nodename, release, version, machine, domainname } = header;
  const guest = await kdumpGuest(opened, input, { partial: true });
  const summary = await summarizeGuest(guest, options);
  await guest.close?.();
  const told = file.vmcorePhysBase;
  return {
    schemaVersion: 2,
    kind: "kdump",
    source: input.name,
    ...summary,
    damage: [],
    details: {
      ...file.form,
      headerVersion: header.header_version,
      uname: { sysname, nodename, release, version, machine, domainname },
      blockSize: file.blockSize,
      compressions: Array.from(COMPRESSION_BY_FLAG)
        .filter(([flag]) => flag !== 0 && (header.status & flag) !== 0)
        .map(([, name]) => name),
      incomplete: file.isIncomplete,
      ...(flattened === undefined
        ? {}
        : {
            flattened: {
              records: flattened.recordCount,
              complete: flattened.complete,
              overlaps: flattened.overlaps,
            },
          }),
      dumpLevel: subHeader.dump_level,
      ...(file.isSplit
        ? {
            split: {
              parts: files.map((part) => ({
                source: part.name,
                firstFrame: part.firstFrame,
                endFrame: part.endFrame,
              })),
            },
          }
        : {}),
      physBase: {
        header: String(subHeader.phys_base),
        ...(told === undefined ? {} : { vmcoreInfo: String(told) }),
      },
      frames: file.frames,
      pages: counts,
      notes: file.notes.map(({ name, type, descriptor }) => ({ name, type, size: descriptor.length })),
    },
  };
}
