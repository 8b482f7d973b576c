import * as fs from "node:fs";
import type { ByteSource, ByteStream, FilePlace, MaybePromise } from "../byte-source.js";
import { SystemError } from "../../findings/errors.js";
import { noteInput } from "./open-files.js";

/** Reads up to this size are answered at once (a few microseconds); larger ones go through the thread pool and overlap. */
const SYNCHRONOUS_LIMIT = 512 << 10;

/** Wraps an error of the operating system with the name of the file it is about. */
export function systemError(error: unknown, source: string): SystemError {
  const { code, message } = error as NodeJS.ErrnoException;
  const plain = new Map([
    ["ENOENT", "no such file"],
    ["EACCES", "permission denied"],
    ["EISDIR", "is a directory"],
    ["ENOSPC", "no space left on the device"],
    ["EEXIST", "exists already"],
    ["EBADF", "not an open descriptor"],
    ["EPIPE", "the reader went away"],
  ]);
  return new SystemError(`os/${code ?? "unknown"}`, plain.get(code ?? "") ?? message ?? String(error), {
    source,
  });
}

/** A regular file (or block device) read at any offset. `close` it when done. */
export class FileSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly mtimeMs: number;
  readonly #fd: number;
  readonly #forget: () => void;
  #open = true;

  /** Takes over descriptor `fd`. */
  constructor(fd: number, name: string) {
    const stat = fs.fstatSync(fd);
    this.#fd = fd;
    this.#forget = noteInput(fd);
    this.name = name;
    this.size = stat.isBlockDevice() ? blockDeviceSize(fd) : stat.size;
    this.mtimeMs = stat.mtimeMs;
  }

  get file(): FilePlace {
    return { fd: this.#fd, offset: 0 };
  }

  read(offset: number, into: Uint8Array): MaybePromise<number> {
    if (into.length <= SYNCHRONOUS_LIMIT) {
      try {
        return fs.readSync(this.#fd, into, 0, into.length, offset);
      } catch (error) {
        throw systemError(error, this.name);
      }
    }
    return new Promise((resolve, reject) => {
      fs.read(this.#fd, into, 0, into.length, offset, (error, n) => {
        if (error === null) resolve(n);
        else reject(systemError(error, this.name));
      });
    });
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#forget();
    fs.closeSync(this.#fd);
  }
}

function blockDeviceSize(fd: number): number {
  // the end is where reading stops: found by doubling, then halving
  const probe = new Uint8Array(1);
  const readable = (at: number): boolean => fs.readSync(fd, probe, 0, 1, at) === 1;
  if (!readable(0)) return 0;
  let high = 512;
  while (readable(high)) high *= 2;
  let low = high / 2;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (readable(middle)) low = middle;
    else high = middle;
  }
  return high;
}

/** What to do while a pipe is empty. `block`: wait in the read itself, fastest; `yield`: let timers and signals run. */
export type Waiting = "block" | "yield";

const EMPTY_RETRIES = 8;

/** A pipe, socket or terminal read in order. Handles short reads, EAGAIN and EINTR; never closes what it was given. */
export class DescriptorStream implements ByteStream {
  readonly name: string;
  readonly #fd: number;
  /** The same pipe opened anew, non-blocking, so that the shared descriptor's flags stay as they are. */
  readonly #nonBlocking: number | undefined;
  /** Signals must run while we wait, and there is no second descriptor (a socket has none): every read is another thread's. */
  readonly #threaded: boolean;

  constructor(fd: number, name: string, waiting: Waiting = "block") {
    this.name = name;
    this.#fd = fd;
    // a file at some position is read as a stream, for good
    noteInput(fd);
    if (waiting === "yield") {
      try {
        this.#nonBlocking = fs.openSync(
          `/proc/self/fd/${fd}`,
          fs.constants.O_RDONLY | fs.constants.O_NONBLOCK,
        );
      } catch {
        this.#nonBlocking = undefined;
      }
    }
    this.#threaded = waiting === "yield" && this.#nonBlocking === undefined;
  }

  read(into: Uint8Array): MaybePromise<number> {
    if (this.#threaded) return this.#wait(into);
    const fd = this.#nonBlocking ?? this.#fd;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return fs.readSync(fd, into, 0, into.length, null);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "EOF") return 0;
        if (code === "EINTR") continue;
        if (code !== "EAGAIN") throw systemError(error, this.name);
        if (attempt >= EMPTY_RETRIES) return this.#wait(into);
      }
    }
  }

  async #wait(into: Uint8Array): Promise<number> {
    for (let pause = 0; ; pause = Math.min(pause + 1, 20)) {
      const n = await new Promise<number | undefined>((resolve, reject) => {
        fs.read(this.#fd, into, 0, into.length, null, (error, count) => {
          if (error === null) resolve(count);
          else if (error.code === "EOF") resolve(0);
          else if (error.code === "EAGAIN" || error.code === "EINTR") resolve(undefined);
          else reject(systemError(error, this.name));
        });
      });
      if (n !== undefined) return n;
      // a non-blocking descriptor given to us: nothing to wait on but time
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

/** How an input named on a command line is opened. */
export interface OpenInputOptions {
  readonly waiting?: Waiting;
  /** Treat a decimal name as a descriptor number (the drop-in programs do). */
  readonly descriptors?: boolean;
}

/** Opens a path, `-` (stdin) or, if asked, a descriptor number: a ByteSource where it can be read at any offset. */
export function openInput(spec: string, options: OpenInputOptions = {}): FileSource | DescriptorStream {
  const isNumber = options.descriptors === true && /^\d+$/.test(spec);
  if (spec === "-" || isNumber) {
    const fd = spec === "-" ? 0 : Number(spec);
    return openDescriptor(fd, spec === "-" ? "stdin" : `fd ${fd}`, options.waiting);
  }
  let fd: number;
  try {
    fd = fs.openSync(spec, "r");
  } catch (error) {
    throw systemError(error, spec);
  }
  const stat = fs.fstatSync(fd);
  if (stat.isDirectory()) {
    fs.closeSync(fd);
    throw new SystemError("os/EISDIR", "is a directory", { source: spec });
  }
  return stat.isFile() || stat.isBlockDevice()
    ? new FileSource(fd, spec)
    : new DescriptorStream(fd, spec, options.waiting);
}

/** An inherited descriptor: a regular file that is known to be at its start is a source, anything else a stream. */
function openDescriptor(
  fd: number,
  name: string,
  waiting: Waiting | undefined,
): FileSource | DescriptorStream {
  let stat: fs.Stats;
  try {
    stat = fs.fstatSync(fd);
  } catch (error) {
    throw systemError(error, name);
  }
  if (stat.isDirectory()) throw new SystemError("os/EISDIR", "is a directory", { source: name });
  if (stat.isFile() && descriptorPosition(fd) === 0) return new FileSource(fd, name);
  return new DescriptorStream(fd, name, waiting);
}

/**
 * Position of a descriptor, from the kernel's own record of it; undefined where there is none: on systems without /proc.
 *
 * @param proc where /proc is
 */
export function descriptorPosition(fd: number, proc = "/proc"): number | undefined {
  try {
    const info = fs.readFileSync(`${proc}/self/fdinfo/${fd}`, "utf8");
    const position = /^pos:\s*(\d+)/m.exec(info)?.[1];
    return position === undefined ? undefined : Number(position);
  } catch {
    return undefined;
  }
}

/** Opens a file that must be readable at any offset. */
export function openFile(path: string): FileSource {
  // looked at before it is opened: opening a pipe waits for its writer
  const stat = statOf(path);
  const input = stat === undefined || stat.isFile() || stat.isBlockDevice() ? openInput(path) : undefined;
  if (input instanceof FileSource) return input;
  if (stat?.isDirectory() === true) throw new SystemError("os/EISDIR", "is a directory", { source: path });
  throw new SystemError("os/ESPIPE", "is not a regular file: it can't be read at any offset", {
    source: path,
  });
}

/** Undefined where it can't be had: opening says why. */
function statOf(path: string): fs.Stats | undefined {
  try {
    return fs.statSync(path);
  } catch {
    return undefined;
  }
}
