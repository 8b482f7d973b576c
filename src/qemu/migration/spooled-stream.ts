import type { Diagnostics } from "../../findings/diagnostics.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource, ByteStream } from "../../io/byte-source.js";
import { loadDecompressor } from "../../io/codecs/codec.js";
import type { Spool } from "../../io/spool.js";
import { type ReadOptions, readStream } from "./read.js";
import type { QevmStream } from "./stream.js";

/**
 * Reads a stream with what `options` give it, and hands it on with a function that closes the spools it came to use;
 * they are closed here when reading or `use` fails.
 */
export async function withStream<T>(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  { progress, openSpool }: OpenOptions,
  how: Pick<ReadOptions, "start" | "forReading" | "checkCompressed" | "salvage">,
  use: (stream: QevmStream, close: () => void) => Promise<T>,
): Promise<T> {
  const spools: Spool[] = [];
  const close = (): void => {
    for (const spool of spools.splice(0)) spool.close();
  };
  try {
    const stream = await readStream(input, diagnostics, {
      ...how,
      zlib: await loadDecompressor("zlib"),
      spool:
        openSpool === undefined
          ? undefined
          : () => {
              const spool = openSpool();
              spools.push(spool);
              return spool;
            },
      progress: progress === undefined ? undefined : (done, total) => progress(done, total, "reading"),
    });
    return await use(stream, close);
  } catch (error) {
    close();
    throw error;
  }
}
