import { viewOf } from "../../binary/layout.js";
import { ELF_MAGIC } from "../../elf/layout.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { openElfGuest } from "../elf/guest.js";
import { verifyElf } from "../elf/verify.js";
import { FlattenedSource, isFlattened } from "./flattened.js";
import { salvageRecords } from "./flattened-salvage.js";
import { FLATTENED_HEADER_SIZE, flattenedRecord } from "./layout.js";
import { KDUMP_RULES } from "./rules.js";

/**
 * The ELF vmcore in a flattened file, as `makedumpfile -E -F` writes it; undefined: something else is in it.
 * @param partial a dump with damaged records may be a kdump, which is read on after them
 * @throws FormatError for damaged records of an ELF vmcore: what they held would be read as zeros
 */
export async function flattenedElf(input: ByteSource, partial = false): Promise<FlattenedSource | undefined> {
  const head = new Uint8Array(FLATTENED_HEADER_SIZE + flattenedRecord.size + ELF_MAGIC.length);
  const got = await readFully(input, 0, head);
  if (!isFlattened(head.subarray(0, got))) return undefined;
  // as a rule the first record is the start of the file: the rest need not be read to know
  const isStart = viewOf(head).getBigUint64(FLATTENED_HEADER_SIZE, false) === 0n;
  if (isStart && !isElf(head.subarray(FLATTENED_HEADER_SIZE + flattenedRecord.size))) return undefined;
  try {
    const source = await FlattenedSource.open(input);
    return (await holdsElf(source)) ? source : undefined;
  } catch (error) {
    if (!partial || !(error instanceof FormatError)) throw error;
    if (await holdsElf(FlattenedSource.from(input, await salvageRecords(input)))) throw error;
    return undefined;
  }
}

const isElf = (bytes: Uint8Array): boolean => ELF_MAGIC.every((byte, i) => bytes[i] === byte);

async function holdsElf(source: FlattenedSource): Promise<boolean> {
  const start = new Uint8Array(ELF_MAGIC.length);
  await readFully(source, 0, start);
  return isElf(start);
}

/** Checks a flattened ELF vmcore: offsets are those of the ELF file in it. */
export async function verifyFlattenedElf(source: FlattenedSource, diagnostics: Diagnostics): Promise<void> {
  if (!source.complete)
    diagnostics.report(KDUMP_RULES.unfinished, { offset: source.size }, "the end marker is missing");
  if (source.overlaps > 0)
    diagnostics.report(KDUMP_RULES.overlap, { offset: 0 }, `${source.overlaps} records write over others`);
  await verifyElf(source, diagnostics);
}

/** Opens the guest in a flattened ELF vmcore. @throws FormatError; TruncatedError without its end marker, unless `partial` */
export async function openFlattenedElf(source: FlattenedSource, options: OpenOptions): Promise<GuestImage> {
  if (!source.complete && options.partial !== true)
    throw new TruncatedError(KDUMP_RULES.unfinished, "the flattened dump ends without its end marker", 32, {
      source: source.name,
      offset: source.size,
    });
  const guest = await openElfGuest(source);
  const { facts } = guest;
  return { ...guest, facts: { ...facts, origin: `${facts.origin} (flattened)` } };
}
