import type { Report } from "../../findings/report.js";
import type { VerifyOptions } from "../../guest/input-format.js";
import type { ByteSource } from "../../io/byte-source.js";
import { FormatError } from "../../io/errors.js";
import { KdumpFile } from "./read.js";
import { physBaseDisagreement } from "./guest.js";
import { pageDescriptor } from "./layout.js";
import { KdumpPages } from "./pages.js";
import { KDUMP_RULES } from "./rules.js";

const ALL_RULES = Object.values(KDUMP_RULES);

/** Turns an error of reading into the finding it stands for. */
function addError(report: Report, error: unknown): void {
  if (!(error instanceof FormatError)) throw error;
  const rule = ALL_RULES.find(({ code }) => code === error.code) ?? KDUMP_RULES.header;
  report.add(rule, { offset: error.place.offset ?? 0 }, error.message);
}

/** Checks headers, bitmaps and descriptors of one file, and unpacks every page in it. */
export async function verifyKdump(input: ByteSource, report: Report, options: VerifyOptions): Promise<void> {
  try {
    const file = await KdumpFile.open(input, (error) => addError(report, error));
    checkHeaders(file, report);
    await checkPages(file, report, options);
  } catch (error) {
    addError(report, error);
  }
}

function checkHeaders(file: KdumpFile, report: Report): void {
  const { flattened, header } = file;
  const statusAt = { offset: 424 };
  if (flattened !== undefined) {
    if (!flattened.complete)
      report.add(KDUMP_RULES.unfinished, { offset: file.source.size }, "the end marker is missing");
    if (flattened.trailing > 0)
      report.add(KDUMP_RULES.trailing, { offset: 0 }, `${flattened.trailing} bytes follow the end marker`);
    if (flattened.overlaps > 0)
      report.add(KDUMP_RULES.overlap, { offset: 0 }, `${flattened.overlaps} records write over others`);
  }
  if (file.isIncomplete)
    report.add(KDUMP_RULES.incomplete, statusAt, `status ${header.status}: the dump is marked incomplete`);
  const { offset_eraseinfo, offset_note } = file.subHeader;
  const erasedAt = offset_eraseinfo > 0 ? offset_eraseinfo : offset_note;
  for (const line of file.erased) report.add(KDUMP_RULES.erased, { offset: erasedAt }, line);
  const disagreement = physBaseDisagreement(file);
  if (disagreement !== undefined) report.add(KDUMP_RULES.physBase, { offset: file.blockSize }, disagreement);
  if (file.isSplit)
    report.add(
      KDUMP_RULES.part,
      { offset: file.blockSize },
      `this part holds frames 0x${file.firstFrame.toString(16)} to 0x${file.endFrame.toString(16)} of 0x${file.frames.toString(16)}`,
    );
}

async function checkPages(file: KdumpFile, report: Report, options: VerifyOptions): Promise<void> {
  const pages = new KdumpPages(file, 0);
  const block = new Uint8Array(file.blockSize);
  let token = 0;
  let undeclared = 0;
  for await (const { first, count, kind } of file.runs()) {
    if (kind === "excluded") continue;
    if (kind === "undeclared") undeclared += count;
    const start = Math.max(first, file.firstFrame);
    const end = Math.min(first + count, file.endFrame);
    for (let frame = start; frame < end; frame += 1) {
      const checked = checkPage(pages, token, frame, block, report);
      if (checked instanceof Promise) await checked;
      token += 1;
    }
    options.progress?.(first, file.frames);
  }
  if (undeclared > 0)
    report.add(
      KDUMP_RULES.bitmap,
      { offset: file.bitmapOffset },
      `${undeclared} pages are in bitmap 2 and not in bitmap 1`,
    );
}

async function checkPage(
  pages: KdumpPages,
  token: number,
  frame: number,
  block: Uint8Array,
  report: Report,
): Promise<void> {
  const descriptor = await pages.descriptor(token);
  const place = { offset: pages.file.descriptorOffset + token * pageDescriptor.size };
  const { offset, size, flags } = descriptor;
  const of = `page 0x${frame.toString(16)}`;
  const fault = pages.fault(descriptor);
  if (fault === "lost") report.add(KDUMP_RULES.lost, place, `${of} is not in the file`);
  else if (fault !== undefined) {
    const what = fault === "size" ? `${size} bytes` : `compression 0x${flags.toString(16)}`;
    report.add(KDUMP_RULES.descriptor, place, `${of}: the descriptor names ${what}`);
  } else {
    try {
      await pages.read(token, block);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      report.add(KDUMP_RULES.page, { offset }, `${of}: ${error.message}`);
    }
  }
}
