import { FormatError, GuestscopeError, UsageError } from "../src/findings/errors.js";
import type { Finding } from "../src/findings/finding.js";
import { extractGuest } from "../src/guest/extract.js";
import type { GuestImage } from "../src/guest/image.js";
import { PAGE_SIZE } from "../src/guest/memory.js";
import type { OpenOptions } from "../src/guest/options.js";
import type { AtomicSink } from "../src/io/byte-sink.js";
import { bytesSource, type ByteStream } from "../src/io/byte-source.js";
import { detectFormat } from "../src/open/detect.js";
import { inspect, openGuest, type Verification, verify } from "../src/open/open.js";
import { OUTPUTS } from "../src/open/outputs.js";
import { MemoryFile } from "../test/vmcore/model.js";
import type { Random } from "./random.js";

/** Something that must not be, whatever the input holds. */
export class Violation extends Error {}

/** What became of an input, in a word or two: inputs that differ in it went different ways. */
export type Outcome = string;

/** Content looked at of one guest, bytes. */
const MOST_READ = 256 << 10;
const MOST_RANGES = 200;
/** Larger guests (announced, not there) aren't written. */
const LARGEST_WRITTEN = 2 << 20;
/** Raw memory has no holes: its file is as large as its addresses go. */
const LARGEST_SPAN = 16 << 20;
/** A kdump has two bits a page up to the highest: 8 MiB each. */
const LARGEST_MAPPED = 2 ** 38;

/** A result, or the error that bad input may cause. @throws whatever bad input must not cause */
export async function attempt<T>(what: string, act: () => Promise<T>): Promise<T | GuestscopeError> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof GuestscopeError) {
      if (error.code === "os") throw new Violation(`${what}: ${error.code}`);
      return error;
    }
    throw error instanceof Violation
      ? error
      : new Violation(`${what} throws ${(error as Error)?.stack ?? String(error)}`);
  }
}

/** QEMU's streams: what describes them is at their end, so that a pipe's reader meets damage before it knows as much. */
const LATE_DESCRIPTION = /qemu|libvirt/;

/** Sound inputs that hold no guest's memory. */
const NO_GUEST: ReadonlySet<string> = new Set(["qevm/ram/none", "disk/qcow2/no-state"]);

/** Bytes as a pipe gives them: in odd pieces. */
function oddPieces(bytes: Uint8Array, random: Random): ByteStream {
  let at = 0;
  return {
    name: "memory",
    read(into) {
      const n = Math.min(into.length, bytes.length - at, 1 + random.below(random.oneIn(2) ? 17 : 9000));
      into.set(bytes.subarray(at, at + n));
      at += n;
      return n;
    },
  };
}

const listed = (findings: readonly Finding[]): string =>
  findings
    .map(({ code, severity, offset, message }) => `${severity} ${code} @${offset}: ${message}`)
    .join("\n");

/** All that is demanded of any saved guest: verify, inspect, open, read, write and read again. */
export async function checkInput(
  bytes: Uint8Array,
  random: Random,
  options: OpenOptions = {},
): Promise<Outcome> {
  const input = bytesSource(bytes);
  const format = await attempt("detect", async () => (await detectFormat(input)).format);
  if (format instanceof GuestscopeError) return format.code;
  const isWhole = random.oneIn(4);
  const verified = await attempt("verify", async () => verify(bytesSource(bytes)));
  if (!(verified instanceof GuestscopeError)) await sameFindings(bytes, random, verified);
  if (isWhole) {
    const inspected = await attempt("inspect", async () => inspect(bytesSource(bytes), options));
    if (!(inspected instanceof GuestscopeError)) json(inspected);
  }
  const strict = await attempt("open", async () => openGuest(bytesSource(bytes), options));
  const isValid = !(verified instanceof GuestscopeError) && verified.report.valid;
  if (isValid && strict instanceof FormatError && !NO_GUEST.has(strict.code))
    throw new Violation(`verify says valid, open says ${strict.code}: ${strict.message}`);
  if (!isWhole && strict instanceof GuestscopeError) return strict.code;
  const partial = !isWhole
    ? strict
    : await attempt("open partial", async () => openGuest(bytesSource(bytes), { ...options, partial: true }));
  if (strict instanceof GuestscopeError && partial instanceof GuestscopeError) return strict.code;
  const outcomes: string[] = [];
  for (const [guest, isPartial] of [
    [strict, false],
    [partial, true],
  ] as const) {
    if (guest instanceof GuestscopeError) {
      if (isPartial && !(strict instanceof GuestscopeError))
        throw new Violation(`opens, but not with partial: ${guest.code}: ${guest.message}`);
      outcomes.push(guest.code);
      continue;
    }
    // the partial one is much the same when the strict one opens
    const isTwice = isPartial && !(strict instanceof GuestscopeError);
    if (!isTwice || (isWhole && random.oneIn(4)))
      outcomes.push(await checkGuest(guest, random, isPartial, isValid));
    await guest.close?.();
  }
  const codes =
    verified instanceof GuestscopeError ? [verified.code] : verified.report.findings.map(({ code }) => code);
  return [...new Set(codes), ...outcomes].join(" ");
}

/** The same input twice, and from a pipe, gives the same findings. */
async function sameFindings(
  bytes: Uint8Array,
  random: Random,
  { report, format = "" }: Verification,
): Promise<void> {
  const { findings } = report;
  const first = listed(findings);
  if (random.oneIn(8)) {
    const again = await verify(bytesSource(bytes));
    if (listed(again.report.findings) !== first)
      throw new Violation("the second verification finds something else");
  }
  if (!random.oneIn(4)) return;
  const piped = await attempt("verify from a pipe", async () => verify(oddPieces(bytes, random)));
  // a format that is read at any offset refuses a pipe
  if (piped instanceof UsageError) return;
  const other = piped instanceof GuestscopeError ? piped.code : listed(piped.report.findings);
  if (LATE_DESCRIPTION.test(format)) {
    // what is in front of a stream can be passed over in a file only
    if (listed(findings) !== other && /open\/unknown/.test(other)) return;
    const isSound = ({ valid, findings: all }: Verification["report"]): boolean =>
      valid && all.every(({ severity }) => severity === "note");
    if (!(piped instanceof GuestscopeError) && isSound(piped.report) !== isSound(report))
      throw new Violation(`file and pipe differ in their verdict\nfile:\n${first}\npipe:\n${other}`);
    return;
  }
  if (other !== first) throw new Violation(`file and pipe differ\nfile:\n${first}\npipe:\n${other}`);
}

function json(value: unknown): void {
  JSON.stringify(value, (_, member: unknown) => (typeof member === "bigint" ? String(member) : member));
}

/** Ranges in order, contents the same in both ways of reading, and again from what a writer makes of them. */
export async function checkGuest(
  guest: GuestImage,
  random: Random,
  isPartial: boolean,
  isValid: boolean,
): Promise<Outcome> {
  let last = -1;
  let count = 0;
  let content = 0;
  const sample: { start: number; end: number }[] = [];
  for (const { start, end, presence } of guest.memory.ranges()) {
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end <= start)
      throw new Violation(`a range from ${start} to ${end}`);
    if (start < last) throw new Violation(`ranges overlap or go back at 0x${start.toString(16)}`);
    last = end;
    count += 1;
    if (presence !== "absent") content += end - start;
    if (count <= MOST_RANGES) {
      if (presence === "absent") await isAbsent(guest, start);
      else sample.push({ start, end });
    }
    if (count > 100_000) break;
  }
  const whole = await compareReads(guest, sample, isValid);
  if (whole !== undefined) return `${whole} unreadable`;
  if (content > 0 && content <= LARGEST_WRITTEN && random.oneIn(2))
    await writeAndReopen(guest, random, isPartial);
  return `${guest.arch.name} ${Math.min(count, 8)} ${guest.vcpus.length}`;
}

async function isAbsent({ memory }: GuestImage, start: number): Promise<void> {
  const n = await attempt("read of absent memory", async () => memory.read(start, new Uint8Array(16)));
  if (typeof n === "number" && n !== 0)
    throw new Violation(`absent memory at 0x${start.toString(16)} gives ${n} bytes`);
}

/** What `pieces` gives is what `read` gives. Returns the code of damage that both meet. */
async function compareReads(
  { memory }: GuestImage,
  ranges: readonly { readonly start: number; readonly end: number }[],
  isValid: boolean,
): Promise<string | undefined> {
  let done = 0;
  for (const { start, end } of ranges) {
    const stop = Math.min(end, start + MOST_READ - done);
    if (stop <= start) break;
    done += stop - start;
    const direct = new Uint8Array(stop - start);
    let at = 0;
    const read = await attempt("read", async () => {
      while (at < direct.length) {
        const n = await memory.read(start + at, direct.subarray(at));
        if (n === 0) break;
        at += n;
      }
      return at;
    });
    const pieced = new Uint8Array(stop - start);
    let covered = start;
    const pieces = await attempt("pieces", async () => {
      for await (const { gpa, length, bytes } of memory.pieces(start, stop)) {
        if (gpa !== covered)
          throw new Violation(`pieces jump from 0x${covered.toString(16)} to 0x${gpa.toString(16)}`);
        if (bytes !== undefined) pieced.set(bytes.subarray(0, length), gpa - start);
        covered = gpa + length;
      }
      return covered - start;
    });
    if (read instanceof GuestscopeError || pieces instanceof GuestscopeError) {
      const code = read instanceof GuestscopeError ? read.code : (pieces as GuestscopeError).code;
      if (!(read instanceof GuestscopeError)) throw new Violation(`pieces fail (${code}) where read goes`);
      if (!(pieces instanceof GuestscopeError)) throw new Violation(`read fails (${code}) where pieces go`);
      if (isValid) throw new Violation(`verify says valid, reading fails: ${code}: ${read.message}`);
      return code;
    }
    if (read !== pieces || read !== direct.length)
      throw new Violation(
        `read gives ${read}, pieces ${pieces} of ${direct.length} bytes at 0x${start.toString(16)}`,
      );
    if (Buffer.compare(direct, pieced) !== 0)
      throw new Violation(`read and pieces differ at 0x${start.toString(16)}`);
  }
  return undefined;
}

/** A file in memory that takes the place of an output. */
class MemoryOutput extends MemoryFile implements AtomicSink {
  commit(): void {}
  abandon(): void {}
}

async function writeAndReopen(guest: GuestImage, random: Random, isPartial: boolean): Promise<void> {
  const output = random.pick(OUTPUTS);
  if (output === undefined) return;
  const end = [...guest.memory.ranges()].reduce((most, range) => Math.max(most, range.end), 0);
  if (output.id === "raw" && end > LARGEST_SPAN) return;
  if (output.id === "kdump" && end > LARGEST_MAPPED) return;
  const compress = random.pick(output.compressions);
  const settings = compress === undefined ? {} : { compress };
  const file = new MemoryOutput();
  const written = await attempt(`write ${output.id}`, async () =>
    extractGuest(guest, await output.load(settings), () => file, { ...settings, partial: isPartial }),
  );
  if (written instanceof GuestscopeError || !written.written) return;
  const bytes = file.bytes();
  if (output.id === "raw") return;
  const again = await attempt(`reopen ${output.id}`, async () => openGuest(bytesSource(bytes)));
  if (again instanceof GuestscopeError) {
    // the architecture is by a word of the file that some outputs lack
    throw new Violation(`${output.id} that was written doesn't open: ${again.code}: ${again.message}`);
  }
  const page = new Uint8Array(PAGE_SIZE);
  const other = new Uint8Array(PAGE_SIZE);
  for (const { start, end, presence } of written.guest.memory.ranges()) {
    if (presence === "absent") continue;
    // a kdump has whole pages only
    const isPart = output.id === "kdump" && (start % PAGE_SIZE !== 0 || end % PAGE_SIZE !== 0);
    if (isPart) continue;
    for (let gpa = start; gpa < end; gpa += PAGE_SIZE) {
      const part = Math.min(PAGE_SIZE, end - gpa);
      const n = await written.guest.memory.read(gpa, page.subarray(0, part));
      other.fill(0x5a);
      const m = await attempt(`read ${output.id}`, async () =>
        again.memory.read(gpa, other.subarray(0, part)),
      );
      if (m !== n || Buffer.compare(page.subarray(0, part), other.subarray(0, part)) !== 0)
        throw new Violation(
          `${output.id}: written memory at 0x${gpa.toString(16)} differs: ${n} bytes, then ${m instanceof GuestscopeError ? m.code : m}`,
        );
    }
  }
  await again.close?.();
}

/** A cut input: what it still has is what the whole one had. */
export async function checkCut(bytes: Uint8Array, cut: number, options: OpenOptions = {}): Promise<Outcome> {
  const part = bytes.slice(0, cut);
  const guest = await attempt("open cut", async () =>
    openGuest(bytesSource(part), { ...options, partial: true }),
  );
  if (guest instanceof GuestscopeError) return `cut ${guest.code}`;
  const whole = await openGuest(bytesSource(bytes), { ...options, partial: true });
  const now = new Uint8Array(PAGE_SIZE);
  const before = new Uint8Array(PAGE_SIZE);
  let done = 0;
  for (const { start, end, presence } of guest.memory.ranges()) {
    if (presence === "absent") continue;
    for (let gpa = start; gpa < end && done < MOST_READ; gpa += PAGE_SIZE, done += PAGE_SIZE) {
      const size = Math.min(PAGE_SIZE, end - gpa);
      const n = await attempt("read cut", async () => guest.memory.read(gpa, now.subarray(0, size)));
      if (n instanceof GuestscopeError) continue;
      const m = await whole.memory.read(gpa, before.subarray(0, size));
      if (m >= n && Buffer.compare(now.subarray(0, n), before.subarray(0, n)) === 0) continue;
      throw new Violation(
        `cut at ${cut} of ${bytes.length}: 0x${gpa.toString(16)} gives ${n} bytes unlike the whole input's ${m}${now.every((byte) => byte === 0) ? " (zeros)" : ""}`,
      );
    }
  }
  await guest.close?.();
  await whole.close?.();
  return "cut";
}
