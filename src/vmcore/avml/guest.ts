import { Report } from "../../findings/report.js";
import type { AbsentReason } from "../../guest/absent.js";
import { rescueWarnings } from "../../guest/salvage.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { architectureNamed, unlabelledGuest } from "../unlabelled.js";
import { dumpMemory } from "./memory.js";
import { type AvmlDump, readDump } from "./read.js";
import { AVML_RULES } from "./rules.js";
import { salvageDump } from "./salvage.js";

/**
 * Opens the guest of a dump. With `partial`, damaged headers and chunks are passed over, and reading goes on at the next that are
 * proven. @throws FormatError for what can't be read, unless `partial`
 */
export async function openDump(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const report = new Report(input.name);
  const dump = await readDump(input, report);
  if (dump.lost === undefined) return guestOf(input, dump, report, options);
  if (options.partial !== true) throw dump.lost;
  const { dump: salvaged, lost, doubtful, unplaced } = await salvageDump(input);
  // of a dump that just ends nothing more is found
  const isCut = dump.lost.rule === AVML_RULES.truncated && salvaged.chunks.count <= dump.chunks.count;
  if (isCut) return guestOf(input, dump, report, options);
  const rescue = { lost, doubtful };
  const guest = await guestOf(input, { ...salvaged, lost: dump.lost }, report, options);
  return {
    ...guest,
    ...(unplaced.length === 0
      ? {}
      : {
          unplaced: unplaced.map(({ offset, size }) => ({
            name: `the block at 0x${offset.toString(16)}`,
            size,
            reason: NO_ADDRESS,
          })),
        }),
    warnings: [...guest.warnings, ...rescueWarnings(rescue)],
    rescue,
  };
}

const NO_ADDRESS: AbsentReason = { kind: "damaged", text: "lost: its address is unknown" };

/** The model of a dump that is read, with what was found while it was. */
export async function guestOf(
  input: ByteSource,
  dump: AvmlDump,
  report: Report,
  { findKernel, raw }: Pick<OpenOptions, "findKernel" | "raw"> = {},
): Promise<GuestImage> {
  const { blocks, chunks, lost } = dump;
  const facts = {
    origin: "compressed AVML memory dump",
    source: input.name,
    more: { ranges: blocks.length, chunks: chunks.count },
  };
  const found = report.findings.map(({ message }) => message);
  const warnings = [...found, ...(lost === undefined ? [] : [lost.message])];
  const guest = { memory: dumpMemory(input, dump), facts, warnings };
  return unlabelledGuest(guest, "an AVML dump", architectureNamed(raw?.arch), findKernel);
}
