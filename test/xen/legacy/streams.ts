import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { fixtures, hasProgram, hasShared, sharedData, skipUnless, unzstd } from "../../shared.js";
import { type Pages, readFinal } from "./read-converted.js";

export interface Meta {
  readonly name: string;
  readonly width: 32 | 64;
  readonly guest: "hvm" | "pv";
  readonly guest_width_bytes?: 4 | 8;
  readonly envelope: "none" | "libxl" | "xl";
  readonly expected: string;
  readonly stream_bytes: number;
  readonly consumed_bytes: number;
  readonly p2m_size: number;
  readonly checkpoints_complete: number;
  readonly checkpoints_begun: number;
  readonly vcpus_online: readonly number[];
  readonly last_checkpoint_chunk: boolean;
  readonly tsc_info: { mode: number; nsec: number; khz: number; incarnation: number };
  readonly hvm_params?: Readonly<Record<string, string>>;
  readonly hvm_context?: { len: number; crc32: string };
  readonly qemu?: { sig: string; len: number; sha256: string };
  readonly toolstack?: {
    readonly physmap: readonly {
      phys_offset: string;
      start_addr: string;
      size: string;
      name: string | null;
    }[];
  };
  readonly pv?: {
    readonly p2m_frames: number;
    readonly xcnt: number | null;
    readonly unmapped_at_end: number;
    readonly vcpus: readonly {
      id: number;
      basic_crc: string;
      ext_crc?: string;
      xsave?: { len: number; crc: string } | null;
    }[];
    readonly shared_info_crc32: string;
  };
  readonly sender_bug?: readonly { readonly pfn: string }[];
}

export interface Sample {
  readonly name: string;
  readonly stream: Buffer;
  readonly meta: Meta;
  readonly final: Pages;
}

const committed = path.join(fixtures, "xen-legacy");
const shared = path.join(sharedData, "xen-legacy");
const hasAll = hasShared && fs.existsSync(shared) && hasProgram("zstd");
skipUnless(hasAll, "the whole set of legacy streams (a committed subset is tested)");
const folder = hasAll ? shared : committed;

/** Names of all samples at hand: the whole set where it lies beside the checkout, the committed ones otherwise. */
export const NAMES: readonly string[] = fs
  .readdirSync(folder)
  .filter((file) => file.endsWith(".meta.json"))
  .map((file) => file.replace(".meta.json", ""));

export const COMMITTED: readonly string[] = fs
  .readdirSync(committed)
  .filter((file) => file.endsWith(".legacy.gz"))
  .map((file) => file.replace(".legacy.gz", ""));

/** One sample; `scratch` is a folder for unpacking. */
export function sample(name: string, scratch: string): Sample {
  const packed = path.join(committed, `${name}.legacy.gz`);
  const from = fs.existsSync(packed) ? committed : shared;
  const stream =
    from === committed
      ? zlib.gunzipSync(fs.readFileSync(packed))
      : fs.readFileSync(unzstd(path.join(shared, `${name}.legacy.zst`), scratch));
  const meta = JSON.parse(fs.readFileSync(path.join(from, `${name}.meta.json`), "utf8")) as Meta;
  const final = readFinal(
    zlib.gunzipSync(fs.readFileSync(path.join(from, `${name}.final.gz`))).toString("latin1"),
  );
  return { name, stream, meta, final };
}

export interface Malformed {
  readonly name: string;
  readonly base: string;
  readonly ops: readonly { at?: number; delete?: number; insert?: string; truncate?: number }[];
  readonly expect: string;
  readonly why: string;
  readonly stream_bytes: number;
  readonly crc32: string;
}

export const MALFORMED: readonly Malformed[] = (
  JSON.parse(fs.readFileSync(path.join(committed, "malformed.json"), "utf8")) as { cases: Malformed[] }
).cases;

/** Applies a case's edits; offsets are those of the original stream. */
export function edited(stream: Buffer, ops: Malformed["ops"]): Buffer {
  let result = stream;
  for (const op of [...ops].sort((a, b) => (b.at ?? 0) - (a.at ?? 0))) {
    if (op.truncate !== undefined) result = result.subarray(0, op.truncate);
    if (op.at === undefined) continue;
    const insert = Buffer.from(op.insert ?? "", "hex");
    result = Buffer.concat([result.subarray(0, op.at), insert, result.subarray(op.at + (op.delete ?? 0))]);
  }
  return result;
}
