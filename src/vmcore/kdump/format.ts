import { latin1 } from "../../binary/layout.js";
import { type GuestSummary, summarizeGuest } from "../guest-summary.js";
import type { Inspection, InputFormat, OpenOptions } from "../../guest/input-format.js";
import { type ByteSource, needSource } from "../../io/byte-source.js";
import { UsageError } from "../../io/errors.js";
import { isFlattened } from "./flattened.js";
import { COMPRESSION_BY_FLAG, kdumpGuest, type KdumpCounts, openKdump, openKdumpGuest } from "./guest.js";
import { DISKDUMP_SIGNATURE, KDUMP_SIGNATURE } from "./layout.js";
import { verifyKdump } from "./verify.js";

/** What `inspect` says of a kdump-compressed dump. Addresses and 64-bit values are decimal or 0x texts. */
export interface KdumpInspection extends Inspection, GuestSummary {
  readonly kind: "kdump";
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

async function inspectKdump(input: ByteSource, options: OpenOptions): Promise<KdumpInspection> {
  const opened = await openKdump(input, options);
  const { files, counts } = opened;
  const [file] = files;
  if (file === undefined) throw new UsageError("no file", { source: input.name });
  const { header, subHeader, flattened } = file;
  const { sysname, nodename, release, version, machine, domainname } = header;
  const guest = await kdumpGuest(opened, input, { partial: true });
  const summary = await summarizeGuest(guest);
  await guest.close?.();
  const told = file.vmcorePhysBase;
  return {
    schemaVersion: 1,
    kind: "kdump",
    source: input.name,
    ...summary,
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
  };
}

/** kdump-compressed dumps of makedumpfile and QEMU: plain, flattened, split. */
export const kdump: InputFormat = {
  id: "kdump",
  title: "kdump-compressed dump",
  needsRandomAccess: true,
  matches(head) {
    const signature = latin1(head.subarray(0, 8));
    return signature === KDUMP_SIGNATURE || signature === DISKDUMP_SIGNATURE || isFlattened(head);
  },
  verify: async (input, report, options) => verifyKdump(needSource(input, "a kdump"), report, options),
  inspect: async (input, options) => inspectKdump(needSource(input, "a kdump"), options),
  openGuest: openKdumpGuest,
};
