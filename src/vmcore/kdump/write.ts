// over 350 lines: one writer whose parts pass pages, blocks and descriptors on to each other
import { pseudoPhysical } from "../../guest/paging/pseudo-physical.js";
import type { AbsentReason } from "../../guest/absent.js";
import { viewOf, writeU64 } from "../../binary/layout.js";
import type { GuestImage } from "../../guest/image.js";
import { kernelBanner } from "../../guest/kernel/vmcoreinfo.js";
import { numberValue, parseVmcoreInfo } from "../../guest/kernel/vmcoreinfo-text.js";
import type { MemoryRange, PhysicalMemory, SourcePiece } from "../../guest/memory.js";
import { yieldToEventLoop } from "../../io/event-loop.js";
import { isRandomSink, type RandomSink } from "../../io/byte-sink.js";
import {
  type PackedPages,
  packInPlace,
  type PackSettings,
  type PagePool,
  type PoolFactory,
} from "../../io/codecs/page-batch.js";
import { AbsentError, FormatError, UsageError } from "../../findings/errors.js";
import { incompleteRead } from "../contents.js";
import { COMPRESSION_FLAGS, pageDescriptor } from "./layout.js";
import { type KdumpPlan, planKdump } from "./plan.js";
import { selectMemory } from "../../guest/selection.js";
import type { AddressRange, VmcoreWriter, WriteOptions, WriteReport } from "../../guest/output-format.js";
import { roundUp } from "../../io/alignment.js";

/** A format of whole pages has no room for parts of one. */
const CUT: AbsentReason = { kind: "not-saved", text: "not a whole page" };

/** Bytes of pages that go to a worker at a time. */
const BATCH = 2 << 20;
/** Bytes that are gathered from here and there before it is asked again whether memory is in one piece. */
const STRETCH = 64 << 20;
/** Descriptors and bitmaps are written in windows of this size. */
const WINDOW = 256 << 10;
const DEFAULT_PAGE = 4096;
/** Page frames that bitmaps are made for: 64 TiB in pages of 4 KiB, two bitmaps of 2 GiB. */
const MOST_FRAMES = 2 ** 34;
const LARGEST_PAGE = 65536;

/** A writer of plain kdump-compressed dumps (diskdump version 6) that packs pages with what `createPool` makes. */
export function createKdumpWriter(createPool: PoolFactory = packInPlace): VmcoreWriter {
  return {
    id: "kdump",
    title: "kdump-compressed dump",
    needsRandomAccess: true,
    async write(source, sink, options) {
      const guest = await pseudoPhysical(source);
      if (!isRandomSink(sink))
        throw new UsageError("a kdump can only be written to a regular file", { source: sink.name });
      return writeKdump(guest, sink, options, createPool);
    },
  };
}

/** How these options have pages packed. @throws UsageError for a compression that kdumps don't have. */
export function kdumpPacking({ compress = "zlib", level = 1 }: WriteOptions): PackSettings {
  if (compress === "none" || compress in COMPRESSION_FLAGS) return { codec: compress, level };
  const names = [...Object.keys(COMPRESSION_FLAGS), "none"].join(", ");
  throw new UsageError(`kdump can't compress with '${compress}'; it can with ${names}`);
}

async function writeKdump(
  guest: GuestImage,
  sink: RandomSink,
  options: WriteOptions,
  createPool: PoolFactory,
): Promise<WriteReport> {
  const settings = kdumpPacking(options);
  // threads begin while the headers are made
  const pool = await createPool(settings, options.threads);
  try {
    return await writeDump(pool, settings.codec, guest, sink, options);
  } finally {
    await pool.close();
  }
}

async function writeDump(
  pool: PagePool,
  compress: string,
  guest: GuestImage,
  sink: RandomSink,
  options: WriteOptions,
): Promise<WriteReport> {
  const blockSize = pageSizeOf(guest);
  const selection = selectMemory(guest, options.range);
  const { runs, cut } = wholeBlocks(selection.runs, blockSize);
  const ends = [...runs, ...selection.missing].map(({ end }) => end);
  const end = ends.reduce((most, next) => Math.max(most, next), 0);
  if (end / blockSize > MOST_FRAMES)
    throw new UsageError(
      `the guest has memory up to 0x${end.toString(16)}: the bitmaps of a kdump would take ${Math.ceil(end / blockSize / 2 ** 32)} GiB, whatever there is below`,
      { source: guest.facts.source },
      { option: "range", effect: "takes a part of it; an ELF vmcore has no bitmaps" },
    );
  const plan = planKdump({ guest, blockSize, runs, end, compress, banner: await bannerOf(guest) });
  await sink.writeAt(0, plan.head);
  const existing = mergeRuns([...runs, ...selection.missing]);
  await writeBitmap(sink, plan.bitmapOffset, existing, blockSize);
  await writeBitmap(sink, plan.bitmapOffset + plan.bitmapSize, runs, blockSize);

  const flag = Object.entries(COMPRESSION_FLAGS).find(([name]) => name === compress)?.[1] ?? 0;
  const output = new PageOutput(sink, plan, guest.arch.order === "little", flag);
  const total = plan.pages * blockSize;
  await new Packer(pool, output, blockSize, (done) => options.progress?.(done, total)).run(guest, runs);
  await output.finish();
  await sink.truncate(output.position);
  const totals = { present: selection.present, zero: selection.zero, absent: selection.absent };
  for (const range of cut) {
    const { present, zero } = selectMemory(guest, range);
    totals.present -= present;
    totals.zero -= zero;
    totals.absent += present + zero;
  }
  return {
    ...totals,
    missing: [...selection.missing, ...cut].sort((a, b) => a.start - b.start),
    size: output.position,
  };
}

/** The kernel's banner, looked for only in a kernel that is known to be Linux; undefined where it can't be read. */
async function bannerOf({ memory, arch, facts }: GuestImage): Promise<string | undefined> {
  if (facts.vmcoreInfo === undefined) return undefined;
  try {
    return await kernelBanner(memory, arch, facts.vmcoreInfo);
  } catch (error) {
    if (error instanceof FormatError || error instanceof AbsentError) return undefined;
    throw error;
  }
}

/**
 * Bytes of a block: the kernel's own page, for readers walk its page tables by the block size; else the source's. QEMU
 * dumps aarch64 in blocks of 64 KiB whatever the kernel has.
 */
function pageSizeOf({ facts }: GuestImage): number {
  const ofKernel = numberValue(parseVmcoreInfo(facts.vmcoreInfo?.text ?? "").get("PAGESIZE"));
  const pageSize = ofKernel === undefined ? (facts.pageSize ?? DEFAULT_PAGE) : Number(ofKernel);
  const fits = pageSize >= DEFAULT_PAGE && pageSize <= LARGEST_PAGE && (pageSize & (pageSize - 1)) === 0;
  return fits ? pageSize : DEFAULT_PAGE;
}

/** Cuts runs to whole blocks: a part of a block has no form here, and would have to be filled up with zeros. */
function wholeBlocks(
  runs: readonly AddressRange[],
  size: number,
): { readonly runs: AddressRange[]; readonly cut: MemoryRange[] } {
  const whole: AddressRange[] = [];
  const cut: MemoryRange[] = [];
  const leave = (start: number, end: number): void => {
    if (start < end) cut.push({ start, end, presence: "absent", reason: CUT });
  };
  for (const run of runs) {
    const start = roundUp(run.start, size);
    const end = Math.max(start, Math.floor(run.end / size) * size);
    if (start >= run.end) {
      leave(run.start, run.end);
      continue;
    }
    leave(run.start, start);
    leave(end, run.end);
    if (start < end) whole.push({ start, end });
  }
  return { runs: whole, cut };
}

function mergeRuns(ranges: readonly AddressRange[]): AddressRange[] {
  const sorted = ranges.map(({ start, end }) => ({ start, end })).sort((a, b) => a.start - b.start);
  const merged: { start: number; end: number }[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && range.start <= last.end) last.end = Math.max(last.end, range.end);
    else merged.push(range);
  }
  return merged;
}

/** Writes the set bits of a bitmap window by window; what is never written reads as zeros. */
async function writeBitmap(
  sink: RandomSink,
  offset: number,
  runs: readonly AddressRange[],
  blockSize: number,
): Promise<void> {
  const window = new Uint8Array(WINDOW);
  let start = -1;
  const flush = async (): Promise<void> => {
    if (start >= 0) await sink.writeAt(offset + start, window.subarray(0, used));
  };
  let used = 0;
  for (const run of runs) {
    const endFrame = Math.ceil(run.end / blockSize);
    for (let frame = Math.floor(run.start / blockSize); frame < endFrame; ) {
      const byte = Math.floor(frame / 8);
      const base = byte - (byte % WINDOW);
      if (base !== start) {
        await flush();
        window.fill(0);
        start = base;
      }
      if (frame % 8 === 0 && endFrame - frame >= 8) {
        const whole = Math.min(Math.floor((endFrame - frame) / 8), base + WINDOW - byte);
        window.fill(0xff, byte - base, byte - base + whole);
        used = byte - base + whole;
        frame += whole * 8;
      } else {
        window[byte - base] = (window[byte - base] ?? 0) | (1 << (frame % 8));
        used = byte - base + 1;
        frame += 1;
      }
    }
  }
  await flush();
}

/** Page contents one after another and their descriptors. */
class PageOutput {
  /** Where the next contents go. */
  position: number;
  readonly #sink: RandomSink;
  readonly #plan: KdumpPlan;
  readonly #little: boolean;
  readonly #flag: number;
  readonly #window = new Uint8Array(pageDescriptor.size * Math.floor(WINDOW / pageDescriptor.size));
  readonly #view = viewOf(this.#window);
  #filled = 0;
  #flushed: number;

  constructor(sink: RandomSink, plan: KdumpPlan, little: boolean, flag: number) {
    this.#sink = sink;
    this.#plan = plan;
    this.#little = little;
    this.#flag = flag;
    this.#flushed = plan.descriptorOffset;
    // all pages of zeros share the first block of contents, which is left a hole
    this.position = plan.dataOffset + plan.blockSize;
  }

  async zeros(count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      this.#describe(this.#plan.dataOffset, this.#plan.blockSize, 0);
      if (this.#filled === this.#window.length) await this.#flush();
    }
  }

  async packed({ data, sizes }: PackedPages): Promise<void> {
    const { blockSize } = this.#plan;
    let at = this.position;
    for (const size of sizes) {
      if (size === 0) this.#describe(this.#plan.dataOffset, blockSize, 0);
      else this.#describe(at, size, size === blockSize ? 0 : this.#flag);
      at += size;
      if (this.#filled === this.#window.length) await this.#flush();
    }
    if (data.length > 0) await this.#sink.writeAt(this.position, data);
    this.position = at;
  }

  #describe(offset: number, size: number, flags: number): void {
    const at = this.#filled;
    writeU64(this.#view, at, offset, this.#little);
    this.#view.setUint32(at + 8, size, this.#little);
    this.#view.setUint32(at + 12, flags, this.#little);
    writeU64(this.#view, at + 16, 0, this.#little);
    this.#filled += pageDescriptor.size;
  }

  async #flush(): Promise<void> {
    await this.#sink.writeAt(this.#flushed, this.#window.subarray(0, this.#filled));
    this.#flushed += this.#filled;
    this.#filled = 0;
  }

  async finish(): Promise<void> {
    if (this.#filled > 0) await this.#flush();
  }
}

/** Something on its way to the output: a batch being packed, or a number of zero pages. */
type Pending = { readonly batch: Promise<PackedPages> } | { readonly zeros: number };

/** Cuts memory into batches, keeps the pool busy and passes results on in order. */
class Packer {
  readonly #pool: PagePool;
  readonly #output: PageOutput;
  readonly #batchSize: number;
  readonly #pageSize: number;
  readonly #progress: (done: number) => void;
  readonly #pending: Pending[] = [];
  #underWay = 0;
  #buffer: Uint8Array | undefined;
  #filled = 0;
  #done = 0;

  constructor(pool: PagePool, output: PageOutput, pageSize: number, progress: (done: number) => void) {
    this.#pool = pool;
    this.#output = output;
    this.#pageSize = pageSize;
    this.#batchSize = Math.max(BATCH, pageSize);
    this.#progress = progress;
  }

  async run({ memory }: GuestImage, runs: readonly AddressRange[]): Promise<void> {
    for (const { start, end } of runs) {
      for (let at = start; at < end; ) {
        at = await this.#packContiguous(memory, at, end);
        at = await this.#gather(memory, at, Math.min(end, at + STRETCH));
      }
    }
    this.#dispatch();
    while (this.#pending.length > 0) await this.#drainOne();
  }

  /** Packs what is in the source as in the guest, batch by batch. Returns where that ends. */
  async #packContiguous(memory: PhysicalMemory, start: number, end: number): Promise<number> {
    const size = this.#batchSize;
    let at = start;
    for (; end - at >= size; at += size) {
      const piece = memory.contiguous?.(at, size);
      if (piece?.length !== size) break;
      // what was gathered before it
      this.#dispatch();
      const batch =
        this.#packInWorker(memory, at, piece) ??
        this.#pool.pack(await this.#readBatch(memory, at), this.#pageSize);
      this.#launch(batch);
      await this.#makeRoom();
      this.#tell(size);
    }
    return at;
  }

  /** Has the pool read and pack a batch at `gpa`; undefined where it can't. */
  #packInWorker(memory: PhysicalMemory, gpa: number, piece: SourcePiece): Promise<PackedPages> | undefined {
    const { file } = piece.source;
    if (file === undefined) return undefined;
    const place = { fd: file.fd, offset: file.offset + piece.offset };
    // what it couldn't read is read here, to say why
    return this.#pool
      .packFile?.(place, piece.length, this.#pageSize)
      .then(async (packed) => packed ?? this.#pool.pack(await this.#readBatch(memory, gpa), this.#pageSize));
  }

  async #readBatch(memory: PhysicalMemory, gpa: number): Promise<Uint8Array> {
    // a source may answer at once, again and again
    await yieldToEventLoop();
    const batch = this.#pool.memory(this.#batchSize);
    const read = await memory.read(gpa, batch);
    if (read < batch.length) throw incompleteRead(gpa + read);
    return batch;
  }

  /** Fills batches with pieces of memory, wherever those lie. Returns `end`. */
  async #gather(memory: PhysicalMemory, start: number, end: number): Promise<number> {
    let next = start;
    for await (const { gpa, length, bytes } of memory.pieces(start, end)) {
      if (gpa !== next) break;
      if (bytes === undefined && this.#filled % this.#pageSize === 0) await this.#zeros(length);
      else await this.#add(bytes ?? new Uint8Array(length));
      next += length;
      this.#tell(length);
    }
    if (next !== end) throw incompleteRead(next);
    return end;
  }

  async #add(bytes: Uint8Array): Promise<void> {
    for (let from = 0; from < bytes.length; ) {
      this.#buffer ??= this.#pool.memory(this.#batchSize);
      const part = bytes.subarray(from, from + this.#buffer.length - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      from += part.length;
      if (this.#filled < this.#buffer.length) return;
      this.#dispatch();
      await this.#makeRoom();
    }
  }

  #tell(length: number): void {
    this.#done += length;
    this.#progress(this.#done);
  }

  async #zeros(length: number): Promise<void> {
    this.#dispatch();
    const whole = Math.floor(length / this.#pageSize);
    if (this.#pending.length === 0) await this.#output.zeros(whole);
    else this.#pending.push({ zeros: whole });
    const rest = length - whole * this.#pageSize;
    if (rest > 0) await this.#add(new Uint8Array(rest));
  }

  #dispatch(): void {
    if (this.#buffer === undefined || this.#filled === 0) return;
    this.#launch(this.#pool.pack(this.#buffer.subarray(0, this.#filled), this.#pageSize));
    this.#buffer = undefined;
    this.#filled = 0;
  }

  #launch(batch: Promise<PackedPages>): void {
    // a failure is met when the batch is its turn, not before
    batch.catch(() => undefined);
    this.#pending.push({ batch });
    this.#underWay += 1;
  }

  /** Waits while the pool has enough. */
  async #makeRoom(): Promise<void> {
    while (this.#underWay >= this.#pool.width) await this.#drainOne();
  }

  async #drainOne(): Promise<void> {
    const entry = this.#pending.shift();
    if (entry === undefined) return;
    if ("zeros" in entry) return this.#output.zeros(entry.zeros);
    const packed = await entry.batch;
    this.#underWay -= 1;
    await this.#output.packed(packed);
    this.#pool.recycle(packed);
  }
}
