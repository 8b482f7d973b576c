import { UsageError } from "../findings/errors.js";
import { type AtomicSink, isRandomSink } from "../io/byte-sink.js";
import { isDamage, withoutDamage } from "./damage.js";
import type { GuestImage, UnplacedBlock } from "./image.js";
import { withVmcoreInfo } from "./kernel/brought-vmcoreinfo.js";
import { searchedWhileRead, type SearchedGuest } from "./kernel/searched-memory.js";
import { withKernelLayout } from "./kernel/with-kernel-layout.js";
import { isExcluded, type MemoryRange } from "./memory.js";
import type { VmcoreWriter, WriteOptions, WriteReport } from "./output-format.js";
import { selectMemory } from "./selection.js";

/** How a guest is extracted, and what is reported on the way. */
export interface ExtractOptions extends Omit<WriteOptions, "progress" | "afterMemory"> {
  /** Write what is there when the input lacks some of the guest's memory that its writer didn't exclude on purpose. */
  readonly partial?: boolean;
  /** The output can't be taken back once it is written: with `partial`, damage is looked for first. */
  readonly irrevocable?: boolean;
  /** Called with the bytes of guest memory done, of how many, and what is being done. */
  readonly progress?: (done: number, total: number, phase: "writing" | "looking for damage") => void;
  /**
   * Called before anything is written, with the memory that will be missing and blocks of it that have no address;
   * again for damage met later.
   */
  readonly onMissing?: (
    guest: GuestImage,
    missing: readonly MemoryRange[],
    unplaced: readonly UnplacedBlock[],
  ) => void;
  /** Called with warnings that come up after the guest was opened. */
  readonly onWarnings?: (warnings: readonly string[]) => void;
}

/** What came of an extraction. */
export interface Extraction extends WriteReport {
  /** False: memory is missing and `partial` was not given, or all of it is. Nothing was written. */
  readonly written: boolean;
  /** The guest as it was written: damaged pages are absent in it. */
  readonly guest: GuestImage;
}

/**
 * Writes a guest's memory and vCPUs with `writer`. Memory that the input lacks is refused unless `partial`, but for what
 * the program that wrote it excluded on purpose: that is missing in the output as well, and its note says so. Pages whose contents turn out damaged while they are written become absent, and writing begins anew.
 * Where opening left open whether there is a kernel, it is looked for: while memory is written, if the writer and the
 * output allow it.
 * @param open opens the output, when it is known that there is something to write
 * @throws UsageError when there is no memory at all in the range, or the writer needs a regular file
 */
export async function extractGuest(
  guest: GuestImage,
  writer: VmcoreWriter,
  open: () => AtomicSink,
  options: ExtractOptions = {},
): Promise<Extraction> {
  const reported = new Set<number>();
  let isFirst = true;
  const extractFrom = async (source: GuestImage): Promise<Extraction> => {
    const before = selectMemory(source, options.range);
    const present = before.present + before.zero;
    if (present === 0 && before.absent === 0) {
      const where = options.range === undefined ? "at all" : "in that range";
      throw new UsageError(`the guest has no memory ${where}`, { source: source.facts.source });
    }
    const missing = before.missing.filter(({ start }) => !reported.has(start));
    for (const { start } of missing) reported.add(start);
    const unplaced = isFirst ? before.unplaced : [];
    isFirst = false;
    if (missing.length + unplaced.length > 0) options.onMissing?.(source, missing, unplaced);
    const isLost = before.unplaced.length > 0 || before.missing.some((range) => !isExcluded(range));
    if (present === 0 || (isLost && options.partial !== true)) {
      const { missing: lost, zero, absent } = before;
      return { written: false, guest: source, present: before.present, zero, absent, missing: lost, size: 0 };
    }
    // its page tables may have been damaged when it was opened
    const known = await withKernelLayout(source);
    return { written: true, ...(await write(known, writer, open, options)) };
  };
  const intact = async (): Promise<GuestImage> => {
    const checked = await withoutDamage(guest, (done, total) =>
      options.progress?.(done, total, "looking for damage"),
    );
    options.onWarnings?.(checked.warnings.slice(guest.warnings.length));
    return checked;
  };
  if (options.partial === true && options.irrevocable === true) return extractFrom(await intact());
  try {
    return await extractFrom(guest);
  } catch (error) {
    if (options.partial !== true || !isDamage(error)) throw error;
    const checked = await intact();
    if (checked === guest) throw error;
    return extractFrom(checked);
  }
}

async function write(
  guest: GuestImage,
  writer: VmcoreWriter,
  open: () => AtomicSink,
  { progress, onWarnings, ...options }: ExtractOptions,
): Promise<WriteReport & Pick<Extraction, "guest">> {
  const sink = open();
  try {
    if (writer.needsRandomAccess && !isRandomSink(sink)) {
      throw new UsageError(`${writer.title} can't be written to a pipe: name a file`, { source: sink.name });
    }
    const isWhole = options.range === undefined && isRandomSink(sink);
    const search = isWhole ? searchOnTheWay(guest, writer) : undefined;
    const known = search?.guest ?? (await withKernelFor(guest, writer));
    const report = await writer.write(known, sink, {
      ...options,
      progress: (done, total) => progress?.(done, total, "writing"),
      ...(search === undefined ? {} : { afterMemory: search.end }),
    });
    sink.commit();
    const found = (await search?.end()) ?? known;
    const warnings = found.warnings.slice(guest.warnings.length);
    if (warnings.length > 0) onWarnings?.(warnings);
    return { ...report, guest: found };
  } catch (error) {
    sink.abandon();
    throw error;
  }
}

/** The search for a kernel while the memory is written; undefined: there is nothing to look for, or it has to be known first. */
function searchOnTheWay(guest: GuestImage, { usesKernel }: VmcoreWriter): SearchedGuest | undefined {
  return guest.isKernelUnsought === true && usesKernel === "last" ? searchedWhileRead(guest) : undefined;
}

/** The guest as a writer wants it that has to know the kernel first, if at all. */
async function withKernelFor(guest: GuestImage, { usesKernel }: VmcoreWriter): Promise<GuestImage> {
  return guest.isKernelUnsought === true && usesKernel !== "never" ? withVmcoreInfo(guest) : guest;
}
