import { viewOf } from "../../binary/layout.js";
import { rules } from "../../findings/finding.js";
import { type Report, violation } from "../../findings/report.js";
import { AARCH64, type Architecture, type GuestImage, I386, X86_64 } from "../../guest/image.js";
import type { Inspection, InputFormat, OpenOptions } from "../../guest/input-format.js";
import { withVmcoreInfo } from "../../guest/kernel/vmcoreinfo.js";
import { type ByteSource, needSource, readFully } from "../../io/byte-source.js";
import { FormatError } from "../../io/errors.js";
import { type GuestSummary, summarizeGuest } from "../guest-summary.js";
import { LIME_MAGIC, LIME_VERSION, limeHeader } from "./layout.js";
import { type MemorySegment, segmentMemory } from "../segments.js";

const SPEC = "LiME memory dump format, version 1";
/** More than any machine's map or filtered dump has. */
const MOST_RANGES = 1 << 20;

export const LIME_RULES = rules({
  header: {
    code: "vmcore/lime/header",
    severity: "error",
    spec: SPEC,
    explanation:
      "A range's header is none: its magic number, version or addresses are wrong. Where the next range begins can't be known, so all that follows is lost.",
  },
  truncated: {
    code: "vmcore/lime/truncated",
    severity: "error",
    spec: SPEC,
    explanation: "The file ends before the contents that a range announces: that memory is absent.",
  },
  overlap: {
    code: "vmcore/lime/overlap",
    severity: "warning",
    spec: SPEC,
    explanation: "Two ranges have addresses in common: the contents of the later one count.",
  },
});

/** Ranges up to the first header that is none. */
interface LimeRanges {
  readonly ranges: readonly MemorySegment[];
  /** Why there are no more, if not for the file's end: the first byte that is no range's. */
  readonly lost: FormatError | undefined;
}

async function readRanges(input: ByteSource): Promise<LimeRanges> {
  const ranges: MemorySegment[] = [];
  const head = new Uint8Array(limeHeader.size);
  for (let at = 0; at < input.size; ) {
    const n = await readFully(input, at, head);
    const problem = ranges.length === MOST_RANGES ? "there are too many ranges" : headerProblem(head, n);
    if (problem !== undefined)
      return { ranges, lost: violation(LIME_RULES.header, input.name, { offset: at }, problem) };
    const { s_addr: physical, e_addr } = limeHeader.decode(head, "little");
    const memorySize = e_addr + 1 - physical;
    const offset = at + limeHeader.size;
    const there = Math.max(0, Math.min(memorySize, input.size - offset));
    ranges.push({ physical, offset, fileSize: memorySize, there, memorySize });
    at = offset + memorySize;
  }
  return { ranges, lost: undefined };
}

/** What is wrong with the first `n` bytes of a header, all there were. */
function headerProblem(head: Uint8Array, n: number): string | undefined {
  if (n < limeHeader.size) return `the file ends ${limeHeader.size - n} bytes before a range's header does`;
  const view = viewOf(head);
  const word = view.getUint32(limeHeader.offsetOf("magic"), true);
  if (word !== LIME_MAGIC) return `no range begins here, but 0x${word.toString(16)}`;
  const version = view.getUint32(limeHeader.offsetOf("version"), true);
  if (version !== LIME_VERSION) return `version ${version} of the format is not known`;
  const first = view.getBigUint64(limeHeader.offsetOf("s_addr"), true);
  const last = view.getBigUint64(limeHeader.offsetOf("e_addr"), true);
  if (first <= last && last < BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return `no memory has addresses 0x${first.toString(16)} to 0x${last.toString(16)}`;
}

/** The processor that a kernel's VMCOREINFO is of; LiME itself doesn't tell. */
function architectureOf(vmcoreInfo: string): Architecture {
  if (/^NUMBER\(kimage_voffset\)=/m.test(vmcoreInfo)) return AARCH64;
  return /^SYMBOL\(_stext\)=[0-9a-f]{8}$/m.test(vmcoreInfo) ? I386 : X86_64;
}

async function openLimeGuest(
  input: ByteSource,
  { partial = false }: Pick<OpenOptions, "partial">,
): Promise<GuestImage> {
  return guestOf(input, await readRanges(input), partial);
}

async function guestOf(
  input: ByteSource,
  { ranges, lost }: LimeRanges,
  partial: boolean,
): Promise<GuestImage> {
  if (lost !== undefined && !partial) throw lost;
  const guest = await withVmcoreInfo({
    arch: X86_64,
    memory: segmentMemory(input, ranges),
    vcpus: [],
    facts: { origin: "LiME memory dump", source: input.name, more: { ranges: ranges.length } },
    warnings: lost === undefined ? [] : [lost.message],
  });
  const { vmcoreInfo } = guest.facts;
  if (vmcoreInfo !== undefined) return { ...guest, arch: architectureOf(vmcoreInfo.text) };
  const guess = "a LiME dump doesn't tell what processor it is of: taken for x86_64";
  return { ...guest, warnings: [...guest.warnings, guess] };
}

/** What `inspect` says of a LiME dump. */
export interface LimeInspection extends Inspection, GuestSummary {
  readonly kind: "lime";
  readonly ranges: number;
}

async function inspectLime(input: ByteSource): Promise<LimeInspection> {
  const found = await readRanges(input);
  return {
    schemaVersion: 1,
    kind: "lime",
    source: input.name,
    ...(await summarizeGuest(await guestOf(input, found, true))),
    ranges: found.ranges.length,
  };
}

async function verifyLime(input: ByteSource, report: Report): Promise<void> {
  const { ranges, lost } = await readRanges(input);
  if (lost !== undefined) report.add(LIME_RULES.header, { offset: lost.place.offset ?? 0 }, lost.message);
  const byAddress = ranges.toSorted((a, b) => a.physical - b.physical);
  let end = 0;
  for (const { physical, offset, there, memorySize } of byAddress) {
    const place = { offset: offset - limeHeader.size };
    const where = `memory at 0x${physical.toString(16)}`;
    if (there < memorySize)
      report.add(
        LIME_RULES.truncated,
        place,
        `${where}: the file has 0x${there.toString(16)} of 0x${memorySize.toString(16)} bytes`,
      );
    if (physical < end) report.add(LIME_RULES.overlap, place, `${where} is in another range, too`);
    end = Math.max(end, physical + memorySize);
  }
}

/** Physical memory as the LiME kernel module and AVML take it from a running Linux machine, and as `limeWriter` writes it. */
export const lime: InputFormat = {
  id: "lime",
  title: "LiME memory dump",
  needsRandomAccess: true,
  matches: (head) => head.length >= 8 && viewOf(head).getUint32(0, true) === LIME_MAGIC,
  verify: async (input, report) => verifyLime(needSource(input, "a LiME dump"), report),
  inspect: async (input) => inspectLime(needSource(input, "a LiME dump")),
  openGuest: openLimeGuest,
};
