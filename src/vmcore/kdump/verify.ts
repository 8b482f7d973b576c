import type { Diagnostics } from "../../findings/diagnostics.js";
import { faultOfVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import type { VerifyOptions } from "../../guest/options.js";
import type { ByteSource, MaybePromise } from "../../io/byte-source.js";
import { FormatError } from "../../findings/errors.js";
import { KdumpFile } from "./read.js";
import { kdumpArchitecture, physBaseDisagreement } from "./guest.js";
import type { PartSurvey } from "./memory.js";
import { isInOrder, openKdump, surplusOf, surplusText } from "./open.js";
import { headerLayout, pageDescriptor } from "./layout.js";
import { decodeVcpus } from "../notes.js";
import { type Descriptor, type DescriptorFault, isPossible, KdumpPages } from "./pages.js";
import { KDUMP_RULES } from "./rules.js";
import { surveyTable, TableWatch } from "./table.js";

/** Checks headers, bitmaps and descriptors of one file, and unpacks every page in it. */
export async function verifyKdump(
  input: ByteSource,
  diagnostics: Diagnostics,
  options: VerifyOptions,
): Promise<void> {
  const file = await KdumpFile.open(input, ({ rule, place, message }) =>
    diagnostics.report(rule, { offset: place.offset ?? 0 }, message),
  );
  checkHeaders(file, diagnostics);
  await checkPages(file, diagnostics, options);
  await checkVmcoreInfo(file, input, diagnostics);
}

/** Whether VMCOREINFO fits the kernel in memory. Damage in its way was met by checkPages. */
async function checkVmcoreInfo(file: KdumpFile, input: ByteSource, diagnostics: Diagnostics): Promise<void> {
  const text = file.vmcoreInfo;
  if (text === undefined) return;
  try {
    const { memory } = await openKdump(input, {});
    const arch = kdumpArchitecture(file);
    const vcpus = decodeVcpus(file.notes, arch);
    const fault = await faultOfVmcoreInfo({ text }, { memory, arch, vcpus }, false);
    if (fault === undefined) return;
    const { offset_vmcoreinfo, offset_note } = file.subHeader;
    const offset = offset_vmcoreinfo > 0 ? offset_vmcoreinfo : offset_note;
    diagnostics.report(KDUMP_RULES.vmcoreInfo, { offset }, fault.message);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
  }
}

function checkHeaders(file: KdumpFile, diagnostics: Diagnostics): void {
  const { flattened, header } = file;
  const statusAt = { offset: headerLayout(file.form.bits).offsetOf("status") };
  if (flattened !== undefined) {
    if (!flattened.complete)
      diagnostics.report(KDUMP_RULES.unfinished, { offset: file.source.size }, "the end marker is missing");
    if (flattened.trailing > 0)
      diagnostics.report(
        KDUMP_RULES.trailing,
        { offset: 0 },
        `${flattened.trailing} bytes follow the end marker`,
      );
    if (flattened.overlaps > 0)
      diagnostics.report(
        KDUMP_RULES.overlap,
        { offset: 0 },
        `${flattened.overlaps} records write over others`,
      );
  }
  try {
    kdumpArchitecture(file);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    diagnostics.report(KDUMP_RULES.machine, { offset: error.place.offset ?? 0 }, error.message);
  }
  if (file.isIncomplete)
    diagnostics.report(
      KDUMP_RULES.incomplete,
      statusAt,
      `status ${header.status}: the dump is marked incomplete`,
    );
  const { offset_eraseinfo, offset_note } = file.subHeader;
  const erasedAt = offset_eraseinfo > 0 ? offset_eraseinfo : offset_note;
  for (const line of file.erased) diagnostics.report(KDUMP_RULES.erased, { offset: erasedAt }, line);
  const disagreement = physBaseDisagreement(file);
  if (disagreement !== undefined)
    diagnostics.report(KDUMP_RULES.physBase, { offset: file.blockSize }, disagreement);
  if (file.isSplit)
    diagnostics.report(
      KDUMP_RULES.part,
      { offset: file.blockSize },
      `this part holds frames 0x${file.firstFrame.toString(16)} to 0x${file.endFrame.toString(16)} of 0x${file.frames.toString(16)}`,
    );
}

async function checkPages(file: KdumpFile, diagnostics: Diagnostics, options: VerifyOptions): Promise<void> {
  const pages = new KdumpPages(file, 0);
  const check = new PageCheck(pages, diagnostics);
  let token = 0;
  let undeclared = 0;
  let promised = 0;
  const watch = new TableWatch(file.blockSize);
  for await (const { first, count, kind } of file.runs()) {
    if (kind === "excluded") continue;
    if (kind === "undeclared") undeclared += count;
    const start = Math.max(first, file.firstFrame);
    const end = Math.min(first + count, file.endFrame);
    const there = Math.max(start, Math.min(end, start + pages.endToken - token));
    promised += Math.max(0, end - start);
    for (let frame = start; frame < there; frame += 1) {
      const found = pages.descriptor(token);
      const descriptor = found instanceof Promise ? await found : found;
      if (isPossible(file, descriptor)) watch.see(descriptor);
      const checked = check.check(token, frame, descriptor);
      if (checked instanceof Promise) await checked;
      token += 1;
    }
    if (there < end) {
      diagnostics.report(
        KDUMP_RULES.lost,
        { offset: pages.file.descriptorOffset + token * pageDescriptor.size },
        `page 0x${there.toString(16)}${end - there === 1 ? "" : ` and the ${end - there - 1} after it`}: the file ends before the descriptor`,
      );
      token += end - there;
    }
    options.progress?.(first, file.frames);
  }
  await checkOrder({ file, pages, watch, promised, undeclared }, diagnostics);
  const surplus = await surplusOf({ file, watch });
  if (surplus > 0) diagnostics.report(KDUMP_RULES.surplus, { offset: watch.end }, surplusText(surplus));
  if (undeclared > 0)
    diagnostics.report(
      KDUMP_RULES.bitmap,
      { offset: file.bitmapOffset },
      `${undeclared} pages are in bitmap 2 and not in bitmap 1`,
    );
}

/** Whether descriptors follow one another, and are as many as the bitmaps promise. */
async function checkOrder(part: Omit<PartSurvey, "damaged">, diagnostics: Diagnostics): Promise<void> {
  if (await isInOrder(part)) return;
  const { file, pages, promised } = part;
  const { count, bad } = await surveyTable(file, pages);
  if (count !== undefined && count !== promised && !(file.isSplit && count < promised))
    diagnostics.report(
      KDUMP_RULES.count,
      { offset: file.bitmapOffset + file.bitmapSize },
      `the bitmaps have ${promised} pages, and there are ${count} descriptors`,
    );
  for (const { start, end } of bad)
    diagnostics.report(
      KDUMP_RULES.order,
      { offset: file.descriptorOffset + start * pageDescriptor.size },
      `${end - start === 1 ? "a descriptor is" : `${end - start} descriptors are`} not in the order of the others`,
    );
}

/** Unpacks pages, and reports those that can't be. */
class PageCheck {
  readonly #pages: KdumpPages;
  readonly #diagnostics: Diagnostics;
  readonly #block: Uint8Array;
  /** Offset of the page stored as it is that was read last: many share one of zeros, which is read once. */
  #stored = -1;

  constructor(pages: KdumpPages, diagnostics: Diagnostics) {
    this.#pages = pages;
    this.#diagnostics = diagnostics;
    this.#block = new Uint8Array(pages.file.blockSize);
  }

  /** Checks the page that a descriptor is of. */
  check(token: number, frame: number, descriptor: Descriptor): MaybePromise<void> {
    const { offset, flags } = descriptor;
    const fault = this.#pages.fault(descriptor);
    if (fault !== undefined) return this.#reportFault(fault, token, frame, descriptor);
    if (flags === 0 && offset === this.#stored) return undefined;
    const read = (): void => {
      if (flags === 0) this.#stored = offset;
    };
    const damaged = (error: unknown): void => {
      if (!(error instanceof FormatError)) throw error;
      this.#diagnostics.report(
        KDUMP_RULES.page,
        { offset },
        `page 0x${frame.toString(16)}: ${error.message}`,
      );
    };
    try {
      const reading = this.#pages.readAt(descriptor, this.#block);
      return reading instanceof Promise ? reading.then(read, damaged) : read();
    } catch (error) {
      return damaged(error);
    }
  }

  #reportFault(
    fault: Exclude<DescriptorFault, undefined>,
    token: number,
    frame: number,
    { size, flags }: Descriptor,
  ): void {
    const of = `page 0x${frame.toString(16)}`;
    const place = { offset: this.#pages.file.descriptorOffset + token * pageDescriptor.size };
    if (fault === "lost")
      return this.#diagnostics.report(KDUMP_RULES.lost, place, `${of} is not in the file`);
    const what = fault === "size" ? `${size} bytes` : `compression 0x${flags.toString(16)}`;
    return this.#diagnostics.report(KDUMP_RULES.descriptor, place, `${of}: the descriptor names ${what}`);
  }
}
