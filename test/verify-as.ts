import { FormatError } from "../src/findings/errors.js";
import { Report } from "../src/findings/report.js";
import type { InputFormat } from "../src/guest/input-format.js";
import type { ByteSource, ByteStream } from "../src/io/byte-source.js";

/** Verifies an input as of one format, as `verify` does: the error that ends it is a finding as well. */
export async function verifyAs(
  format: InputFormat,
  input: ByteSource | ByteStream,
  report: Report = new Report(input.name),
): Promise<Report> {
  try {
    // a format that is read at any offset is given sources only
    await format.reader.verify?.(input as ByteSource, report, {});
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    report.addError(error);
  }
  return report;
}
