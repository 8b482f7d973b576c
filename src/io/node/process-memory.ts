import * as fs from "node:fs";
import type { ByteSource, MaybePromise } from "../byte-source.js";
import { SystemError, UsageError } from "../../findings/errors.js";
import { systemError } from "./files.js";
import { stopProcess } from "./stop-process.js";

const SYNCHRONOUS_LIMIT = 256 << 10;

interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly fileOffset: number;
  readonly path: string;
}

interface Piece {
  readonly address: number;
  readonly length: number;
  readonly presence: "present" | "unmapped";
  readonly offset?: number;
}

/** What /proc shows of a process: its program's path, its arguments joined by spaces, its mappings in bytes. */
export interface LiveDescription {
  readonly program: string;
  readonly commandLine: string;
  readonly threads: number;
  readonly mappings: readonly {
    readonly start: number;
    readonly bytes: number;
    /** Bytes that may be read. */
    readonly held: number;
    readonly writable: boolean;
  }[];
}

/** The memory of a running process: what a core would hold, read from /proc. Offsets are addresses. */
export class LiveProcess {
  readonly name: string;
  readonly pid: number;
  readonly source: ByteSource;
  /** Files mapped, by address. */
  readonly files: readonly Mapping[];
  /** All mappings, by address. */
  readonly mappings: readonly Mapping[];
  /** The auxiliary vector: tag → value. */
  readonly auxv: ReadonlyMap<number, bigint>;
  readonly #fd: number;
  #open = true;
  #resume: (() => void) | undefined;

  /**
   * @param options.stop Stop the process (SIGSTOP) until `close`: its memory holds still meanwhile.
   * @throws SystemError when there is no such process or it may not be read.
   */
  constructor(pid: number, options: { readonly stop?: boolean } = {}) {
    this.name = `pid:${pid}`;
    this.pid = pid;
    const directory = `/proc/${pid}`;
    if (!fs.existsSync("/proc/self"))
      throw new SystemError("os/ENOSYS", "a process is read through /proc, which isn't here", {
        source: this.name,
      });
    if (!fs.existsSync(directory))
      throw new SystemError("os/ESRCH", "no such process", { source: this.name });
    let fd: number | undefined;
    try {
      this.#fd = fd = fs.openSync(`${directory}/mem`, "r");
      if (options.stop === true) this.#resume = stopProcess(pid);
      this.mappings = parseMaps(fs.readFileSync(`${directory}/maps`, "latin1"));
      this.auxv = parseAuxv(fs.readFileSync(`${directory}/auxv`), elfBits(`${directory}/exe`));
    } catch (error) {
      this.#resume?.();
      if (fd !== undefined) fs.closeSync(fd);
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EACCES" && code !== "EPERM") throw systemError(error, this.name);
      const text = "may not be read: be its user with ptrace allowed (kernel.yama.ptrace_scope), or root";
      throw new SystemError(`os/${code}`, text, { source: this.name });
    }
    this.files = this.mappings.filter(({ path }) => path.startsWith("/"));
    this.source = {
      name: this.name,
      size: Number.MAX_SAFE_INTEGER,
      read: (offset, into) => this.#readAt(offset, into),
    };
  }

  /** What /proc shows of the process itself. @throws SystemError when it has ended meanwhile */
  describe(): LiveDescription {
    const folder = `/proc/${this.pid}`;
    try {
      const words = fs.readFileSync(`${folder}/cmdline`, "utf8").split("\0");
      return {
        program: fs.readlinkSync(`${folder}/exe`),
        commandLine: words.join(" ").trimEnd(),
        threads: fs.readdirSync(`${folder}/task`).length,
        mappings: this.mappings.map(({ start, end, readable, writable }) => ({
          start,
          bytes: end - start,
          held: readable ? end - start : 0,
          writable,
        })),
      };
    } catch (error) {
      throw systemError(error, this.name);
    }
  }

  #readAt(offset: number, into: Uint8Array): MaybePromise<number> {
    const failed = (error: NodeJS.ErrnoException): number => {
      // what is not mapped (any more) ends the read
      if (error.code === "EIO" || error.code === "EFAULT") return 0;
      throw systemError(error, this.name);
    };
    if (into.length <= SYNCHRONOUS_LIMIT) {
      try {
        return fs.readSync(this.#fd, into, 0, into.length, offset);
      } catch (error) {
        return failed(error as NodeJS.ErrnoException);
      }
    }
    return this.#readAll(offset, into, failed);
  }

  async #readAll(
    offset: number,
    into: Uint8Array,
    failed: (error: NodeJS.ErrnoException) => number,
  ): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const n = await new Promise<number>((resolve, reject) => {
        fs.read(this.#fd, into, done, into.length - done, offset + done, (error, count) => {
          if (error === null) resolve(count);
          else reject(error);
        });
      }).catch(failed);
      if (n === 0) break;
      done += n;
    }
    return done;
  }

  read(address: number, into: Uint8Array): MaybePromise<number> {
    let room = 0;
    for (const piece of this.pieces(address, address + into.length)) {
      if (piece.presence !== "present") break;
      room += piece.length;
    }
    return room === 0 ? 0 : this.#readAt(address, room === into.length ? into : into.subarray(0, room));
  }

  *pieces(start: number, end: number): Iterable<Piece> {
    let at = start;
    for (const mapping of this.mappings) {
      if (mapping.end <= at || !mapping.readable) continue;
      if (at >= end) return;
      if (at < mapping.start) {
        const stop = Math.min(mapping.start, end);
        yield { address: at, length: stop - at, presence: "unmapped" };
        at = stop;
      }
      if (at >= end) return;
      const stop = Math.min(mapping.end, end);
      yield { address: at, length: stop - at, presence: "present", offset: at };
      at = stop;
    }
    if (at < end) yield { address: at, length: end - at, presence: "unmapped" };
  }

  /** Lets the process go on and gives its memory back; safe to call twice. */
  close(): void {
    this.#resume?.();
    if (this.#open) fs.closeSync(this.#fd);
    this.#open = false;
  }
}

/** `pid:123` → 123. @throws UsageError for a number that is none. */
export function parsePid(spec: string): number | undefined {
  if (!spec.startsWith("pid:")) return undefined;
  const pid = Number(spec.slice(4));
  if (/^\d+$/.test(spec.slice(4)) && pid > 0) return pid;
  throw new UsageError(`'${spec.slice(4)}' is no process number`, { source: spec });
}

/** Lines of /proc/PID/maps: `start-end perms offset dev inode path`. */
function parseMaps(text: string): Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of text.split("\n")) {
    const parts = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+\s*(.*)$/.exec(line);
    if (parts === null) continue;
    const [, start = "", end = "", perms = "", offset = "", path = ""] = parts;
    const last = Number.parseInt(end, 16);
    // the legacy system call page is in the kernel's half
    if (!Number.isSafeInteger(last)) continue;
    const readable = perms.startsWith("r") && path !== "[vvar]";
    const fileOffset = Number.parseInt(offset, 16);
    const writable = perms[1] === "w";
    mappings.push({ start: Number.parseInt(start, 16), end: last, readable, writable, fileOffset, path });
  }
  return mappings;
}

function elfBits(exe: string): 32 | 64 {
  const fd = fs.openSync(exe, "r");
  try {
    const ident = new Uint8Array(5);
    fs.readSync(fd, ident, 0, ident.length, 0);
    return ident[4] === 1 ? 32 : 64;
  } finally {
    fs.closeSync(fd);
  }
}

/** Pairs of machine words in the order of this machine, ended by tag 0. */
function parseAuxv(bytes: Uint8Array, bits: 32 | 64): Map<number, bigint> {
  const little = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = bits / 8;
  const auxv = new Map<number, bigint>();
  for (let at = 0; at + 2 * word <= bytes.length; at += 2 * word) {
    const get = (offset: number): bigint =>
      bits === 64 ? view.getBigUint64(offset, little) : BigInt(view.getUint32(offset, little));
    const tag = Number(get(at));
    if (tag === 0) break;
    auxv.set(tag, get(at + word));
  }
  return auxv;
}
