import { writeU64 } from "../../binary/layout.js";
import type { ByteSink } from "../../io/byte-sink.js";
import {
  DOMAIN_TYPE,
  domainHeader,
  hvmParam,
  hvmParamsHeader,
  IMAGE_ID,
  IMAGE_MARKER,
  imageHeader,
  LIBXC_RECORD,
  p2mFramesHeader,
  PAGE_TYPE_HAS_DATA,
  pageDataEntry,
  pageDataHeader,
  pvInfo,
  recordHeader,
  tscInfo,
  vcpuHeader,
} from "./layout.js";
import type { TscInfo } from "./records.js";

/** Version of the format that is written. */
export type StreamVersion = 2 | 3;

const ORDER = "little";
const ZEROS = new Uint8Array(8);

/** Bytes of zero padding after a body: records take multiples of 8. */
export function padding(bodyLength: number): Uint8Array {
  return ZEROS.subarray(0, -bodyLength & 7);
}

/** Image and domain header of a stream that a converter makes. */
export function streamHeaders(guest: keyof typeof DOMAIN_TYPE, version: StreamVersion): Uint8Array {
  const image = imageHeader.encode(
    { marker: IMAGE_MARKER, id: IMAGE_ID, version, options: 0, reserved1: 0, reserved2: 0 },
    "big",
  );
  const domain = domainHeader.encode(
    { type: DOMAIN_TYPE[guest], pageShift: 12, reserved1: 0, xenMajor: 0, xenMinor: CONVERTER_VERSION },
    ORDER,
  );
  return joined(image, domain);
}

/** What a converter puts in the minor version: its own, the major being 0. */
const CONVERTER_VERSION = 1;

/** Header of a record of the given type. */
export function recordStart(type: number, bodyLength: number): Uint8Array {
  return recordHeader.encode({ type, bodyLength }, ORDER);
}

/** A whole record. */
export function record(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const bodyLength = parts.reduce((sum, part) => sum + part.length, 0);
  return joined(recordStart(type, bodyLength), ...parts, padding(bodyLength));
}

/** The parts one after another, copied. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** X86_PV_INFO. */
export function pvInfoRecord(guestWidth: 4 | 8, ptLevels: 3 | 4): Uint8Array {
  return record(
    LIBXC_RECORD.X86_PV_INFO,
    pvInfo.encode({ guestWidth, ptLevels, reserved1: 0, reserved2: 0 }, ORDER),
  );
}

/** @param frames pfns of the p2m table of pfns 0 to `endPfn` */
export function p2mFramesRecord(endPfn: number, frames: Uint32Array): Uint8Array {
  const words = new Uint8Array(frames.length * 8);
  const view = new DataView(words.buffer);
  for (const [i, pfn] of frames.entries()) writeU64(view, i * 8, pfn, true);
  return record(
    LIBXC_RECORD.X86_PV_P2M_FRAMES,
    p2mFramesHeader.encode({ startPfn: 0, endPfn }, ORDER),
    words,
  );
}

/** X86_TSC_INFO. */
export function tscInfoRecord({ mode, khz, nsec, incarnation }: TscInfo): Uint8Array {
  return record(
    LIBXC_RECORD.X86_TSC_INFO,
    tscInfo.encode({ mode, khz, nsec, incarnation, reserved: 0 }, ORDER),
  );
}

/** One record with all parameters, ascending by index. */
export function hvmParamsRecord(parameters: ReadonlyMap<number, bigint>): Uint8Array {
  const sorted = [...parameters].sort(([a], [b]) => a - b);
  return record(
    LIBXC_RECORD.HVM_PARAMS,
    hvmParamsHeader.encode({ count: sorted.length, reserved: 0 }, ORDER),
    ...sorted.map(([index, value]) => hvmParam.encode({ index, value }, ORDER)),
  );
}

/** Types of vCPU records that are written. */
export type VcpuRecordType = "X86_PV_VCPU_BASIC" | "X86_PV_VCPU_EXTENDED" | "X86_PV_VCPU_XSAVE";

/** A record of the state of one PV vCPU. */
export function vcpuRecord(type: VcpuRecordType, vcpuId: number, state: Uint8Array): Uint8Array {
  return record(LIBXC_RECORD[type], vcpuHeader.encode({ vcpuId, reserved: 0 }, ORDER), state);
}

const PAGE = 4096;
/** Entries of a PAGE_DATA record as Xen itself writes it. */
const RECORD_PAGES = 1024;
const HEAD = recordHeader.size + pageDataHeader.size;
const DATA = HEAD + RECORD_PAGES * pageDataEntry.size;

interface Assembly {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

function assembly(): Assembly {
  const bytes = new Uint8Array(DATA + RECORD_PAGES * PAGE);
  return { bytes, view: new DataView(bytes.buffer) };
}

/**
 * Writes PAGE_DATA records of 1024 entries (the last one fewer). A record is put together in one of two buffers,
 * contents being read straight into it, while the other is being written.
 */
export class PageDataWriter {
  readonly #sink: ByteSink;
  #current = assembly();
  #other = assembly();
  #entries = 0;
  #pages = 0;
  #writing: Promise<void> | undefined;
  #error: unknown;
  #written = 0;

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  /** Bytes given to the sink so far. */
  get written(): number {
    return this.#written;
  }

  /** Entries that the current record can still take. */
  get room(): number {
    return RECORD_PAGES - this.#entries;
  }

  /** Adds an entry; the contents of those types that have them come by `contents`, in the same order. */
  entry(type: number, pfn: number): void {
    const { view } = this.#current;
    const at = HEAD + this.#entries * 8;
    view.setUint32(at, pfn >>> 0, true);
    view.setUint32(at + 4, ((type << 28) | Math.floor(pfn / 0x1_0000_0000)) >>> 0, true);
    this.#entries += 1;
    if (PAGE_TYPE_HAS_DATA[type] === true) this.#pages += 1;
  }

  /** Where the contents of the last `pages` entries that have them belong: to be filled before the next call. */
  contents(pages: number): Uint8Array {
    const end = DATA + this.#pages * PAGE;
    return this.#current.bytes.subarray(end - pages * PAGE, end);
  }

  /** Ends the current record when it is full. */
  async endIfFull(): Promise<void> {
    if (this.room === 0) await this.end();
  }

  /** Ends the current record, if it has entries. */
  async end(): Promise<void> {
    const entries = this.#entries;
    if (entries === 0) return;
    const { bytes, view } = this.#current;
    const dataLength = this.#pages * PAGE;
    const bodyLength = pageDataHeader.size + entries * 8 + dataLength;
    recordHeader.write(view, 0, { type: LIBXC_RECORD.PAGE_DATA, bodyLength }, ORDER);
    pageDataHeader.write(view, recordHeader.size, { count: entries, reserved: 0 }, ORDER);
    // the contents of a short record begin after the room for a full one: its head moves up to them
    const headLength = HEAD + entries * 8;
    const start = DATA - headLength;
    if (start > 0) bytes.copyWithin(start, 0, headLength);
    await this.#send(bytes.subarray(start, DATA + dataLength));
    [this.#current, this.#other] = [this.#other, this.#current];
    this.#entries = 0;
    this.#pages = 0;
  }

  async #send(bytes: Uint8Array): Promise<void> {
    await this.#landed();
    this.#written += bytes.length;
    const writing = this.#sink.write(bytes);
    if (writing instanceof Promise) {
      this.#writing = writing.catch((error: unknown) => {
        this.#error = error;
      });
    }
  }

  async #landed(): Promise<void> {
    if (this.#writing !== undefined) await this.#writing;
    this.#writing = undefined;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Writes other bytes of the stream, after the current record. */
  async write(bytes: Uint8Array): Promise<void> {
    await this.end();
    await this.#send(bytes);
    await this.#landed();
  }
}
