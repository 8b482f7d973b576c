import { latin1, viewOf } from "../../binary/layout.js";
import { ELF_MAGIC } from "../../elf/layout.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import type { AbsentReason } from "../../guest/absent.js";
import { withoutRanges } from "../../guest/damage.js";
import type { GuestImage } from "../../guest/image.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import type { MemoryRange } from "../../guest/memory.js";
import type { OpenOptions } from "../../guest/options.js";
import { type DoubtfulPart, type LostPart, rescueWarnings } from "../../guest/salvage.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { guestOf } from "../elf/guest.js";
import { openVmcore, type VmcoreSegment } from "../elf/read.js";
import { isDamagedElf } from "../elf/rescue.js";
import { verifyElf } from "../elf/verify.js";
import { FlattenedSource, isFlattened } from "./flattened.js";
import { salvageRecords } from "./flattened-salvage.js";
import { DISKDUMP_SIGNATURE, FLATTENED_HEADER_SIZE, flattenedRecord, KDUMP_SIGNATURE } from "./layout.js";
import { KDUMP_RULES } from "./rules.js";

/** An ELF vmcore in a flattened file, and what is lost of the records that hold it. */
export interface FlattenedElf {
  readonly source: FlattenedSource;
  /** Parts of the flattened file. */
  readonly lost: readonly LostPart[];
  /** Bytes of the ELF file that may be shifted within their record. */
  readonly shifted: readonly { readonly start: number; readonly end: number }[];
}

/**
 * The ELF vmcore in a flattened file, as `makedumpfile -E -F` writes it; undefined: something else is in it.
 * @param partial records are read on after damaged ones
 * @throws FormatError for damaged records, unless `partial`: what they held would be read as zeros
 */
export async function flattenedElf(input: ByteSource, partial = false): Promise<FlattenedElf | undefined> {
  const head = new Uint8Array(FLATTENED_HEADER_SIZE + flattenedRecord.size + SIGNATURE_SIZE);
  const got = await readFully(input, 0, head);
  if (!isFlattened(head.subarray(0, got))) return undefined;
  // as a rule the first record is the start of the file: the rest need not be read to know
  const isStart = viewOf(head).getBigUint64(FLATTENED_HEADER_SIZE, false) === 0n;
  const start = head.subarray(FLATTENED_HEADER_SIZE + flattenedRecord.size);
  if (isStart && !isElf(start) && (!partial || isKdump(start))) return undefined;
  let found: FlattenedElf | undefined;
  try {
    found = { source: await FlattenedSource.open(input), lost: [], shifted: [] };
  } catch (error) {
    if (!partial || !(error instanceof FormatError)) throw error;
  }
  // bytes after the end marker: it may be damage that looks like one
  if (found === undefined || (partial && found.source.trailing > 0)) {
    const salvaged = await salvageRecords(input);
    const { lost, shifted } = salvaged;
    found = { source: FlattenedSource.from(input, salvaged), lost, shifted };
  }
  return (await holdsElf(found.source, partial)) ? found : undefined;
}

/** Bytes by which the file in a flattened one is known. */
const SIGNATURE_SIZE = 8;

const isElf = (bytes: Uint8Array): boolean => ELF_MAGIC.every((byte, i) => bytes[i] === byte);

const isKdump = (bytes: Uint8Array): boolean =>
  [KDUMP_SIGNATURE, DISKDUMP_SIGNATURE].includes(latin1(bytes.subarray(0, SIGNATURE_SIZE)));

async function holdsElf(source: FlattenedSource, partial: boolean): Promise<boolean> {
  const start = new Uint8Array(SIGNATURE_SIZE);
  await readFully(source, 0, start);
  if (isElf(start)) return true;
  return partial && !isKdump(start) && (await isDamagedElf(source));
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
export async function openFlattenedElf(
  { source, lost, shifted }: FlattenedElf,
  options: OpenOptions,
): Promise<GuestImage> {
  if (!source.complete && options.partial !== true)
    throw new TruncatedError(KDUMP_RULES.unfinished, "the flattened dump ends without its end marker", 32, {
      source: source.name,
      offset: source.size,
    });
  const opened = await openVmcore(source, options.partial);
  const { isSalvaged } = source;
  // the kernel is looked for in what is left
  const guest = await guestOf(opened, isSalvaged ? { ...options, findKernel: false } : options);
  const { facts, rescue, warnings } = guest;
  const parts = [...lost, ...(rescue?.lost ?? []).flatMap((part) => placesOf(source, part))];
  const memory = isSalvaged ? withoutRanges(guest.memory, lostMemory(source, opened.segments)) : guest.memory;
  const inRecords = shiftedMemory(shifted, opened.segments);
  const doubtful = [...(rescue?.doubtful ?? []), ...inRecords];
  const found: GuestImage = {
    ...guest,
    memory,
    facts: { ...facts, origin: `${facts.origin} (flattened)` },
    warnings: [...rescueWarnings({ lost, doubtful: inRecords }), ...warnings],
    ...(parts.length + doubtful.length === 0 ? {} : { rescue: { lost: parts, doubtful } }),
  };
  return isSalvaged ? withVmcoreInfo(found, options.findKernel) : found;
}

/** Memory whose contents may be shifted within their record. */
function shiftedMemory(
  shifted: FlattenedElf["shifted"],
  segments: readonly VmcoreSegment[],
): readonly DoubtfulPart[] {
  const parts: DoubtfulPart[] = [];
  for (const { start, end } of shifted)
    for (const { physical, offset, there } of segments) {
      const [from, to] = [Math.max(start, offset), Math.min(end, offset + there)];
      const why = "may be shifted: bytes may have been inserted into its record";
      if (from < to) parts.push({ start: physical + from - offset, end: physical + to - offset, why });
    }
  return parts.sort((a, b) => a.start - b.start);
}

/** Where a lost part of the plain file is in the flattened one. */
function placesOf(source: FlattenedSource, part: LostPart): readonly LostPart[] {
  const places: LostPart[] = [];
  for (const { start, end } of source.inputSpans(part.start, part.end)) {
    if (places.length === MOST_PLACES) break;
    places.push({ ...part, start, end });
  }
  return places;
}

/** Records of a part that are shown one by one. */
const MOST_PLACES = 16;
const PAGE = 4096;
const LOST: AbsentReason = { kind: "damaged", text: "lost: the record of the flattened form that held it" };

/** Memory whose contents no record has, in pages. */
function lostMemory(source: FlattenedSource, segments: readonly VmcoreSegment[]): readonly MemoryRange[] {
  const ranges: MemoryRange[] = [];
  for (const { physical, offset, there } of segments)
    for (const gap of source.gaps(offset, offset + there)) {
      const start = physical + Math.floor((gap.start - offset) / PAGE) * PAGE;
      const end = physical + Math.min(there, Math.ceil((gap.end - offset) / PAGE) * PAGE);
      if (start < end) ranges.push({ start, end, presence: "absent", reason: LOST });
    }
  const disjoint: (MemoryRange & { end: number })[] = [];
  for (const range of ranges.sort((a, b) => a.start - b.start)) {
    const last = disjoint.at(-1);
    if (last !== undefined && range.start <= last.end) last.end = Math.max(last.end, range.end);
    else disjoint.push({ ...range });
  }
  return disjoint;
}
