import * as zlib from "node:zlib";

/** Pages as a restore would have them in the end: pfn → `type crc32`, both hexadecimal; `-` for no contents. */
export type Pages = Map<number, string>;

export interface Converted {
  readonly xlHeader: Buffer | undefined;
  readonly libxl: boolean;
  readonly version: number;
  readonly guest: "pv" | "hvm";
  readonly pages: Pages;
  readonly records: { readonly layer: "libxc" | "libxl"; readonly type: number; readonly body: Buffer }[];
  readonly parameters: Record<string, string>;
  /** Bytes after the last record. */
  readonly rest: Buffer;
}

/** A second reader of the new format, apart from the one under src/, for the tests alone: strict and without mercy. */
export function readConverted(bytes: Buffer): Converted {
  let at = 0;
  let xlHeader: Buffer | undefined;
  if (bytes.subarray(0, 4).toString("latin1") === "Xen ") {
    if ((bytes.readUInt32LE(36) & 2) === 0) throw new Error("xl flag of the new format is not set");
    at = 48 + bytes.readUInt32LE(44);
    xlHeader = bytes.subarray(0, at);
  }
  const libxl = bytes.subarray(at, at + 8).toString("latin1") === "LibxlFmt";
  const records: { layer: "libxc" | "libxl"; type: number; body: Buffer }[] = [];
  const next = (layer: "libxc" | "libxl"): { type: number; body: Buffer } => {
    const type = bytes.readUInt32LE(at);
    const length = bytes.readUInt32LE(at + 4);
    if (length > 128 << 20) throw new Error("record beyond 128 MiB");
    const padded = (length + 7) & ~7;
    if (at + 8 + padded > bytes.length) throw new Error(`record ${type} of ${length} bytes is cut`);
    const body = bytes.subarray(at + 8, at + 8 + length);
    const padding = bytes.subarray(at + 8 + length, at + 8 + padded);
    if (padding.some((byte) => byte !== 0)) throw new Error("padding is not zero");
    at += 8 + padded;
    const record = { layer, type, body };
    records.push(record);
    return record;
  };
  if (libxl) {
    if (bytes.readUInt32BE(at + 8) !== 2 || bytes.readUInt32BE(at + 12) !== 2)
      throw new Error("libxl header");
    at += 16;
    if (next("libxl").type !== 1) throw new Error("no LIBXC_CONTEXT first");
  }
  if (bytes.readBigUInt64BE(at) !== 0xffffffffffffffffn) throw new Error("no libxc marker");
  if (bytes.readUInt32BE(at + 8) !== 0x58454e46) throw new Error("no libxc id");
  const version = bytes.readUInt32BE(at + 12);
  if (bytes.readBigUInt64BE(at + 16) !== 0n) throw new Error("libxc options");
  at += 24;
  const domain = bytes.readUInt32LE(at);
  if (bytes.readUInt16LE(at + 4) !== 12 || bytes.readUInt32LE(at + 8) !== 0) throw new Error("domain header");
  at += 16;
  const pages: Pages = new Map();
  const parameters: Record<string, string> = {};
  for (;;) {
    const { type, body } = next("libxc");
    if (type === 0) break;
    if (type === 1) readPageData(body, pages);
    if (type === 10) {
      const count = body.readUInt32LE(0);
      if (body.length !== 8 + count * 16 || count === 0) throw new Error("HVM_PARAMS");
      for (let i = 0; i < count; i += 1) {
        parameters[body.readBigUInt64LE(8 + i * 16).toString()] =
          `0x${body.readBigUInt64LE(16 + i * 16).toString(16)}`;
      }
    }
  }
  if (libxl) while (next("libxl").type !== 0);
  const guest = domain === 1 ? "pv" : "hvm";
  return { xlHeader, libxl, version, guest, pages, records, parameters, rest: bytes.subarray(at) };
}

function readPageData(body: Buffer, pages: Pages): void {
  const count = body.readUInt32LE(0);
  if (count === 0) throw new Error("PAGE_DATA of no entries");
  let data = 8 + count * 8;
  for (let i = 0; i < count; i += 1) {
    const entry = body.readBigUInt64LE(8 + i * 8);
    const type = Number(entry >> 60n);
    if (((entry >> 52n) & 0xffn) !== 0n) throw new Error("reserved bits");
    const pfn = Number(entry & 0xfffffffffffffn);
    if (type < 5 || (type > 8 && type < 13)) {
      pages.set(pfn, `${type.toString(16)} ${crc32(body.subarray(data, data + 4096))}`);
      data += 4096;
    } else if (type === 15) {
      pages.delete(pfn);
    } else {
      pages.set(pfn, `${type.toString(16)} -`);
    }
  }
  if (data !== body.length) throw new Error("PAGE_DATA of another length");
}

export function crc32(bytes: Uint8Array): string {
  return crc(bytes).toString(16).padStart(8, "0");
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = (c & 1) !== 0 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

function crc(bytes: Uint8Array): number {
  const native = (zlib as { crc32?: (data: Uint8Array) => number }).crc32;
  if (native !== undefined) return native(bytes);
  let c = 0xffffffff;
  for (const byte of bytes) c = ((TABLE[(c ^ byte) & 0xff] ?? 0) ^ (c >>> 8)) >>> 0;
  return (c ^ 0xffffffff) >>> 0;
}

/** The ground truth file: `pfn type crc32` lines. */
export function readFinal(text: string): Pages {
  const pages: Pages = new Map();
  for (const line of text.split("\n")) {
    const [pfn, type, sum] = line.split(" ");
    if (pfn !== undefined && pfn !== "" && type !== undefined)
      pages.set(Number.parseInt(pfn, 16), `${type} ${sum}`);
  }
  return pages;
}
