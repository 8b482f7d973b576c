import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import * as tty from "node:tty";
import type { RandomSink } from "../byte-sink.js";
import type { ByteSink } from "../byte-sink.js";
import { UsageError } from "../../findings/errors.js";
import type { Spool } from "../spool.js";
import { systemError } from "./files.js";
import { refuseInput } from "./open-files.js";
import { openScratchFile } from "./scratch-file.js";

const SYNCHRONOUS_LIMIT = 64 << 10;
/** Up to here a spool file is read and written at once: less than what is written while the next bytes are made. */
const SYNCHRONOUS_SPOOL = 1 << 20;
/** Up to here a place in a file is written at once: a copy into the page cache, while the next read is under way. */
const SYNCHRONOUS_PLACE = 8 << 20;
/** Outputs and spool files hold a guest's memory. */
const PRIVATE = 0o600;

/** Unfinished outputs, removed when the process ends before they are whole. */
const unfinished = new Set<string>();

function removeUnfinished(): void {
  for (const name of unfinished) fs.rmSync(name, { force: true });
  unfinished.clear();
}

let guarded = false;

/** Removes unfinished outputs on exit, SIGINT, SIGTERM and SIGHUP, and then dies of the signal (status 128 + n). */
function guardUnfinished(): void {
  if (guarded) return;
  guarded = true;
  process.once("exit", removeUnfinished);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      removeUnfinished();
      // not exit(): it would wait for a thread that is blocked in a read
      process.kill(process.pid, signal);
    });
  }
}

async function writeAll(
  fd: number,
  bytes: Uint8Array,
  position: number | null,
  name: string,
  synchronous = SYNCHRONOUS_LIMIT,
): Promise<void> {
  let done = 0;
  for (let pause = 0; done < bytes.length; ) {
    try {
      const at = position === null ? null : position + done;
      if (bytes.length <= synchronous) {
        done += fs.writeSync(fd, bytes, done, bytes.length - done, at);
      } else {
        done += await new Promise<number>((resolve, reject) => {
          fs.write(fd, bytes, done, bytes.length - done, at, (error, n) =>
            error === null ? resolve(n) : reject(error),
          );
        });
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EINTR") continue;
      if (code !== "EAGAIN") throw systemError(error, name);
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(pause + 1, 20);
    }
  }
}

/** A file written beside its final name and renamed when whole. */
export class FileSink implements RandomSink {
  readonly name: string;
  readonly #partial: string;
  readonly #fd: number;
  #position = 0;
  #open = true;

  constructor(finalName: string, options: { readonly force?: boolean } = {}) {
    this.name = finalName;
    if (finalName === "") throw new UsageError("the output's name is empty");
    const existing = fs.statSync(finalName, { throwIfNoEntry: false });
    if (existing !== undefined) {
      if (existing.isDirectory()) throw new UsageError("is a directory", { source: finalName });
      refuseInput(existing, finalName);
      if (options.force !== true)
        throw new UsageError(
          "exists already",
          { source: finalName },
          { option: "force", effect: "replaces it" },
        );
    } else if (!fs.existsSync(path.dirname(finalName))) {
      throw new UsageError(`there is no directory '${path.dirname(finalName)}'`, { source: finalName });
    }
    const unique = `${process.pid}-${Math.random().toString(36).slice(2, 8)}`;
    this.#partial = path.join(path.dirname(finalName), `.${path.basename(finalName)}.${unique}.partial`);
    guardUnfinished();
    try {
      this.#fd = fs.openSync(this.#partial, "wx+", PRIVATE);
    } catch (error) {
      throw systemError(error, finalName);
    }
    unfinished.add(this.#partial);
  }

  get position(): number {
    return this.#position;
  }

  write(bytes: Uint8Array): Promise<void> {
    const at = this.#position;
    this.#position += bytes.length;
    return writeAll(this.#fd, bytes, at, this.name);
  }

  writeAt(offset: number, bytes: Uint8Array): Promise<void> {
    return writeAll(this.#fd, bytes, offset, this.name, SYNCHRONOUS_PLACE);
  }

  truncate(size: number): void {
    fs.ftruncateSync(this.#fd, size);
  }

  /** Makes the output whole: closes it and gives it its final name. */
  commit(): void {
    if (!this.#open) return;
    this.#open = false;
    try {
      fs.closeSync(this.#fd);
      fs.renameSync(this.#partial, this.name);
    } catch (error) {
      throw systemError(error, this.name);
    }
    unfinished.delete(this.#partial);
  }

  /** Removes what was written. Nothing happens after `commit`. */
  abandon(): void {
    if (!this.#open) return;
    this.#open = false;
    fs.closeSync(this.#fd);
    fs.rmSync(this.#partial, { force: true });
    unfinished.delete(this.#partial);
  }
}

function statOf(fd: number, name: string): fs.Stats {
  try {
    return fs.fstatSync(fd);
  } catch (error) {
    throw systemError(error, name);
  }
}

/** A descriptor written in order as bytes come: what was written stays written. */
export class DescriptorSink implements ByteSink {
  readonly name: string;
  readonly #fd: number;

  /** @throws UsageError for a terminal, or for a file that is an input as well */
  constructor(fd: number, name: string) {
    this.#fd = fd;
    this.name = name;
    if (tty.isatty(fd))
      throw new UsageError("is a terminal: binary data is not written to it", { source: name });
    refuseInput(statOf(fd, name), name);
  }

  write(bytes: Uint8Array): Promise<void> {
    return writeAll(this.#fd, bytes, null, this.name);
  }

  /** Nothing to do: bytes went out as they came. */
  commit(): void {}

  /** Nothing can be taken back. */
  abandon(): void {}
}

/** Opens a path, `-` (stdout) or, if asked, a descriptor number for writing. */
export function openOutput(
  spec: string,
  options: { readonly force?: boolean; readonly descriptors?: boolean } = {},
): FileSink | DescriptorSink {
  if (spec === "-") return new DescriptorSink(1, "stdout");
  if (options.descriptors === true && /^\d+$/.test(spec))
    return new DescriptorSink(Number(spec), `fd ${spec}`);
  // devices and pipes are written as they are: they can't be renamed over
  const existing = fs.statSync(spec, { throwIfNoEntry: false });
  if (existing !== undefined && !existing.isFile() && !existing.isDirectory()) {
    return new DescriptorSink(fs.openSync(spec, "w"), spec);
  }
  return new FileSink(spec, options);
}

/** A temporary file without a name: gone with the process, whatever happens. */
export class SpoolFile implements Spool {
  readonly name: string;
  readonly #fd: number;
  #size = 0;
  #open = true;

  constructor(directory: string = os.tmpdir()) {
    this.name = `spool file in ${directory}`;
    this.#fd = openScratchFile("spool", directory);
  }

  get size(): number {
    return this.#size;
  }

  write(bytes: Uint8Array): Promise<void> {
    const at = this.#size;
    this.#size += bytes.length;
    return writeAll(this.#fd, bytes, at, this.name, SYNCHRONOUS_SPOOL);
  }

  writeAt(offset: number, bytes: Uint8Array): Promise<void> {
    this.#size = Math.max(this.#size, offset + bytes.length);
    return writeAll(this.#fd, bytes, offset, this.name, SYNCHRONOUS_SPOOL);
  }

  truncate(size: number): void {
    fs.ftruncateSync(this.#fd, size);
    this.#size = size;
  }

  read(offset: number, into: Uint8Array): number | Promise<number> {
    if (into.length <= SYNCHRONOUS_SPOOL) return fs.readSync(this.#fd, into, 0, into.length, offset);
    return new Promise((resolve, reject) => {
      fs.read(this.#fd, into, 0, into.length, offset, (error, n) =>
        error === null ? resolve(n) : reject(systemError(error, this.name)),
      );
    });
  }

  close(): void {
    if (this.#open) fs.closeSync(this.#fd);
    this.#open = false;
  }
}
