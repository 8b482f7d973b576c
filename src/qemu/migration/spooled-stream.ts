import type { Diagnostics } from "../../findings/diagnostics.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource, ByteStream } from "../../io/byte-source.js";
import { UsageError } from "../../findings/errors.js";
import { loadDecompressor } from "../../io/codecs/codec.js";
import type { Spool } from "../../io/spool.js";
import { type ReadOptions, readStream } from "./read.js";
import type { QevmStream } from "./stream.js";

/** Files that are read together with a stream. */
export interface Beside {
  readonly channels: readonly ByteSource[];
  /** By the names of RAM blocks. */
  readonly backing: ReadonlyMap<string, ByteSource>;
  close(): void;
}

/** Opens the files that `options` name. @throws UsageError when they can't be opened here, SystemError */
export async function openBeside({
  qemu = {},
  openFile,
}: Pick<OpenOptions, "qemu" | "openFile">): Promise<Beside> {
  const opened: (ByteSource & { close?(): void })[] = [];
  const close = (): void => {
    for (const source of opened.splice(0)) source.close?.();
  };
  const open = async (path: string): Promise<ByteSource> => {
    if (openFile === undefined)
      throw new UsageError("files beside a stream can't be opened here", { source: path });
    const source = await openFile(path);
    opened.push(source);
    return source;
  };
  try {
    const channels: ByteSource[] = [];
    for (const path of qemu.channels ?? []) channels.push(await open(path));
    const backing = new Map<string, ByteSource>();
    for (const [name, path] of Object.entries(qemu.backing ?? {})) backing.set(name, await open(path));
    return { channels, backing, close };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * Reads a stream with what `options` give it, and hands it on with a function that closes the spools it came to use;
 * they are closed here when reading or `use` fails.
 */
export async function withStream<T>(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  options: OpenOptions,
  how: Pick<ReadOptions, "start" | "forReading" | "checkCompressed" | "salvage">,
  use: (stream: QevmStream, close: () => void) => Promise<T>,
): Promise<T> {
  const { progress, openSpool } = options;
  const spools: Spool[] = [];
  const beside = await openBeside(options);
  const close = (): void => {
    beside.close();
    for (const spool of spools.splice(0)) spool.close();
  };
  try {
    const stream = await readStream(input, diagnostics, {
      ...how,
      channels: beside.channels,
      backing: beside.backing,
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
