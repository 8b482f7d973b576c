import { type ByteSource, type ByteStream, sliceSource } from "../io/byte-source.js";
import type { ByteSink } from "../io/byte-sink.js";
import { FileSource } from "../io/node/files.js";
import { DescriptorSink, type FileSink, SpoolFile } from "../io/node/output.js";
import { SystemError } from "../findings/errors.js";
import { enterEnvelope } from "../xen/envelopes/read.js";
import type { ConversionReport } from "../xen/legacy/conversion-report.js";
import { type ConvertOptions, convertLegacy } from "../xen/legacy/convert.js";
import { printError } from "./terminal.js";

export interface Conversion {
  /** Closed when it is a file. */
  readonly input: ByteSource | ByteStream;
  readonly output: FileSink | DescriptorSink;
  /** The bytes of a stream input, readable at any offset beside it. */
  readonly reread?: ByteSource;
  /** Directory for spool files; default: the system's. */
  readonly spoolDirectory?: string;
  readonly options: ConvertOptions;
}

/** Converts between opened files; the output is whole under its name, or not there at all. */
export async function runConversion(conversion: Conversion): Promise<ConversionReport> {
  const { input, output, reread, spoolDirectory, options } = conversion;
  let written = 0;
  const sink: ByteSink = {
    name: output.name,
    write(bytes) {
      written += bytes.length;
      return output.write(bytes);
    },
  };
  try {
    const { envelope, stream } = await enterEnvelope<ByteSource | ByteStream>(input);
    const report = await convertLegacy(stream, sink, {
      ...options,
      ...(reread === undefined
        ? {}
        : { reread: sliceSource(reread, envelope?.streamOffset ?? 0, reread.size) }),
      openSpool: () => new SpoolFile(spoolDirectory),
    });
    output.commit();
    return report;
  } catch (error) {
    output.abandon();
    const readerGone = error instanceof SystemError && error.code === "os/EPIPE";
    if (output instanceof DescriptorSink && written > 0 && !readerGone) {
      printError(`${output.name}: holds the first ${written} bytes of an incomplete stream`);
    }
    throw error;
  } finally {
    if (input instanceof FileSource) input.close();
  }
}
