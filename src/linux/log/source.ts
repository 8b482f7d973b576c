import type { ByteOrder } from "../../binary/layout.js";
import { parseVmcoreInfo } from "../../guest/linux.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import type { MaybePromise } from "../../io/byte-source.js";
import { AbsentError, FormatError } from "../../io/errors.js";
import { LOG } from "./rules.js";

/** Memory by the kernel's own virtual addresses. */
export interface KernelMemory {
  /** Fills `into` from `va` on; returns the bytes read, fewer where the next one isn't mapped or isn't in the input. */
  read(va: bigint, into: Uint8Array): MaybePromise<number>;
}

/** What reading the log needs of a kernel. */
export interface LogSource {
  /** The text of VMCOREINFO. */
  readonly vmcoreInfo: string;
  readonly memory: KernelMemory;
  /** Bits of an `unsigned long`. */
  readonly bits: 32 | 64;
  readonly order: ByteOrder;
  /** Bytes of memory that the guest has: no ring is larger. */
  readonly memorySize: number;
}

/** VMCOREINFO's names and the kernel's memory, for the readers of the three kinds of log. */
export class LogMemory {
  readonly bits: 32 | 64;
  readonly little: boolean;
  readonly memorySize: number;
  readonly #info: ReadonlyMap<string, string>;
  readonly #memory: KernelMemory;

  constructor(source: LogSource) {
    this.bits = source.bits;
    this.little = source.order === "little";
    this.memorySize = source.memorySize;
    this.#info = parseVmcoreInfo(source.vmcoreInfo);
    this.#memory = source.memory;
  }

  /** The kernel's release, `6.1.0-56-cloud-amd64`. */
  get release(): string {
    return this.#info.get("OSRELEASE") ?? "";
  }

  /** Address of a symbol; undefined where VMCOREINFO doesn't name it. */
  symbol(name: string): bigint | undefined {
    const value = this.#info.get(`SYMBOL(${name})`);
    return value !== undefined && /^[0-9a-f]{1,16}$/.test(value) ? BigInt(`0x${value}`) : undefined;
  }

  /** `SIZE(x)`, `OFFSET(a.b)`, `LENGTH(x)` or `NUMBER(x)` where VMCOREINFO has it. */
  optional(key: string): number | undefined {
    const value = this.#info.get(key);
    return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
  }

  /** The same, for what no reader can do without. @throws AbsentError `linux/log/unknown` */
  number(key: string): number {
    const value = this.optional(key);
    if (value === undefined) throw new AbsentError(LOG.unknown.code, `VMCOREINFO has no ${key}`);
    return value;
  }

  /** Reads `length` bytes at once. @throws AbsentError `linux/log/unreadable` */
  async read(va: bigint, length: number, what: string): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    if ((await this.#memory.read(va, bytes)) === length) return bytes;
    throw new AbsentError(LOG.unreadable.code, `${what} (at 0x${va.toString(16)}) is not in the input`);
  }

  /** As much of `into` as can be read from `va` on. */
  readSome(va: bigint, into: Uint8Array): MaybePromise<number> {
    return this.#memory.read(va, into);
  }

  /** A table of `size` bytes that is read piece by piece. @throws FormatError `linux/log/damaged` for one larger than the guest. */
  table(va: bigint, size: number, what: string): LogTable {
    if (!Number.isSafeInteger(size) || size > this.memorySize) {
      throw new FormatError(LOG.damaged.code, `${what} of ${size} bytes is larger than the guest's memory`);
    }
    return new LogTable(this, va, size);
  }
}

/** Bytes that are kept of a table at once. */
const WINDOW = 64 << 10;

/** A table in kernel memory, read through one window that moves. */
export class LogTable {
  readonly size: number;
  readonly #memory: LogMemory;
  readonly #va: bigint;
  #start = 0;
  #window: Uint8Array = new Uint8Array(0);
  /** Bytes from the window's start on that are either in it or known to be missing. */
  #known = 0;

  constructor(memory: LogMemory, va: bigint, size: number) {
    this.#memory = memory;
    this.#va = va;
    this.size = size;
  }

  /** `length` bytes from `at` on, valid until the next call; fewer where the table ends or memory is missing. */
  async bytes(at: number, length: number): Promise<Uint8Array> {
    const wanted = Math.max(0, Math.min(length, this.size - at));
    if (at < this.#start || at + wanted > this.#start + this.#known) {
      const size = Math.max(0, Math.min(Math.max(WINDOW, wanted), this.size - at));
      const window = new Uint8Array(size);
      const n = await this.#memory.readSome(this.#va + BigInt(at), window);
      this.#start = at;
      this.#window = window.subarray(0, n);
      // nothing more of the page where reading stopped can be had; what comes after it is another read
      const stop = this.#va + BigInt(at + n);
      this.#known = n === size ? size : n + PAGE_SIZE - Number(stop % BigInt(PAGE_SIZE));
    }
    const from = at - this.#start;
    return this.#window.subarray(Math.min(from, this.#window.length), from + wanted);
  }
}
