import { Report } from "../../findings/report.js";
import { headWarnings } from "../../guest/head.js";
import type { OpenOptions } from "../../guest/options.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { inspectStream, type QevmInspection } from "../migration/inspect.js";
import { envelopeOf, openSave, reportHead, spooled } from "./open.js";

/** Describes a save: its envelope and the stream in it. @throws FormatError when the stream can't be found */
export async function inspectSave(
  input: ByteSource | ByteStream,
  options: OpenOptions,
): Promise<QevmInspection> {
  const report = new Report(input.name);
  const opened = await openSave(input, report, true);
  reportHead(opened, report);
  // only a stream that can be read again shows what the guest was running
  const spool =
    isByteSource(input) && opened.packed !== undefined
      ? await spooled(input, opened.packed, report, { ...options, isPartial: true })
      : undefined;
  try {
    const inspection = await inspectStream(spool ?? opened.stream, options, {
      ...envelopeOf(opened, input.name),
      warnings: [
        ...headWarnings(opened.head?.facts ?? []),
        ...report.findings.filter(({ severity }) => severity !== "error").map(({ message }) => message),
      ],
    });
    const errors = report.findings.filter(({ severity }) => severity === "error");
    return { ...inspection, damage: [...errors, ...inspection.damage] };
  } finally {
    spool?.close();
  }
}
