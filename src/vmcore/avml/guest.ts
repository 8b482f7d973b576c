import { Report } from "../../findings/report.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { architectureNamed, unlabelledGuest } from "../unlabelled.js";
import { dumpMemory } from "./memory.js";
import { type AvmlDump, readDump } from "./read.js";

/** Opens the guest of a dump. @throws FormatError for what can't be read, unless `partial` */
export async function openDump(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const report = new Report(input.name);
  const dump = await readDump(input, report);
  if (dump.lost !== undefined && options.partial !== true) throw dump.lost;
  return guestOf(input, dump, report, options);
}

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
