import { LIBXC_RECORD as R, recordHeader } from "../../../src/xen/libxc/layout.js";
import { LIBXL_RECORD as L } from "../../../src/xen/libxl/layout.js";

/** The edits that shared/data/xen420/mutations.json names, made anew of a save file of version 3. */

/** A piece of a save: a header, or a record of one of both layers. */
export interface Item {
  readonly layer: "xl" | "libxl" | "libxc";
  /** Undefined: a header. */
  readonly type?: number;
  /** A header's bytes, a record's body. */
  readonly bytes: Buffer;
  /** Announced instead of the body's length. */
  readonly length?: number;
}

export type Items = readonly Item[];

const LIBXL_HEADER = 16;
const IMAGE_HEADER = 24;
const DOMAIN_HEADER = 16;
const HEAD = 8;

/** Takes a save apart: bodies are views of it. */
export function parseSave(save: Buffer): Items {
  const items: Item[] = [];
  let at = 0;
  const header = (layer: Item["layer"], size: number): void => {
    items.push({ layer, bytes: save.subarray(at, at + size) });
    at += size;
  };
  const records = (layer: "libxl" | "libxc", isLast: (type: number) => boolean): void => {
    for (;;) {
      const { type, bodyLength } = recordHeader.decode(save.subarray(at, at + HEAD), "little");
      const start = at + HEAD;
      items.push({ layer, type, bytes: save.subarray(start, start + bodyLength) });
      at = start + bodyLength + (-bodyLength & 7);
      if (isLast(type)) return;
    }
  };
  header("xl", 48 + save.readUInt32LE(44));
  header("libxl", LIBXL_HEADER);
  records("libxl", (type) => type === L.LIBXC_CONTEXT);
  header("libxc", IMAGE_HEADER);
  header("libxc", DOMAIN_HEADER);
  records("libxc", (type) => type === R.END);
  records("libxl", (type) => type === L.END);
  return items;
}

const encoded = ({ type, bytes, length = bytes.length }: Item): Buffer[] =>
  type === undefined
    ? [bytes]
    : [
        Buffer.from(recordHeader.encode({ type, bodyLength: length }, "little")),
        bytes,
        Buffer.alloc(-bytes.length & 7),
      ];

/** The bytes of a save, in parts. */
export const encodeSave = (items: Items): Buffer[] => items.flatMap(encoded);

type Edit = (items: Items) => Items | Buffer[];

const indexOf = (items: Items, layer: Item["layer"], type: number, nth = 0): number => {
  const found = items.flatMap((item, i) => (item.layer === layer && item.type === type ? [i] : []));
  return found.at(nth) ?? -1;
};
const headerAt = (items: Items, layer: Item["layer"], nth = 0): number =>
  items.flatMap((item, i) => (item.layer === layer && item.type === undefined ? [i] : [])).at(nth) ?? -1;

const withItem = (items: Items, index: number, change: (item: Item) => Item): Items =>
  items.map((item, i) => (i === index ? change(item) : item));
const edited =
  (change: (bytes: Buffer) => Uint8Array | undefined) =>
  (item: Item): Item => {
    const bytes = Buffer.from(item.bytes);
    const other = change(bytes);
    return { ...item, bytes: other === undefined ? bytes : Buffer.from(other) };
  };

/** Changes a header's bytes in a copy of it. */
const header =
  (layer: Item["layer"], change: (bytes: Buffer) => void, nth = 0): Edit =>
  (items) =>
    withItem(
      items,
      headerAt(items, layer, nth),
      edited((bytes) => {
        change(bytes);
        return undefined;
      }),
    );
/** Changes a record's body in a copy of it, or gives another one. */
const body =
  (type: number, change: (bytes: Buffer) => Uint8Array | undefined): Edit =>
  (items) =>
    withItem(items, indexOf(items, "libxc", type), edited(change));
const number32 = (type: number, offset: number, value: number): Edit =>
  body(type, (bytes) => {
    bytes.writeUInt32LE(value, offset);
    return undefined;
  });
const shorter = (type: number, by: number): Edit =>
  body(type, (bytes) => bytes.subarray(0, bytes.length - by));
const announced =
  (type: number, length: (bytes: Buffer) => number): Edit =>
  (items) =>
    withItem(items, indexOf(items, "libxc", type), (item) => ({ ...item, length: length(item.bytes) }));
/** All records but those of some types. */
const without =
  (...types: readonly number[]): Edit =>
  (items) =>
    items.filter(({ layer, type }) => layer !== "libxc" || type === undefined || !types.includes(type));
const removed =
  (type: number, nth: number): Edit =>
  (items) =>
    items.toSpliced(indexOf(items, "libxc", type, nth), 1);
const record = (type: number, bytes: Buffer = Buffer.alloc(0)): Item => ({ layer: "libxc", type, bytes });
const before =
  (type: number, ...added: readonly Item[]): Edit =>
  (items) =>
    items.toSpliced(indexOf(items, "libxc", type), 0, ...added);
const beforeTsc = (type: number, bytes?: Buffer): Edit => before(R.X86_TSC_INFO, record(type, bytes));
const twice =
  (type: number): Edit =>
  (items) => {
    const index = indexOf(items, "libxc", type);
    return items.toSpliced(index, 0, ...items.slice(index, index + 1));
  };
/** Moves all records of some types in front of the first (`nth` 0) or after the last (-1) of another type. */
const moved =
  (types: readonly number[], to: number, nth: 0 | -1): Edit =>
  (items) => {
    const isMoved = ({ layer, type }: Item): boolean =>
      layer === "libxc" && type !== undefined && types.includes(type);
    const others = items.filter((item) => !isMoved(item));
    const index = indexOf(others, "libxc", to, nth) - nth;
    return others.toSpliced(index, 0, ...items.filter(isMoved));
  };
const swapped =
  (one: number, other: number, nth = 0): Edit =>
  (items) => {
    const [a, b] = [indexOf(items, "libxc", one), indexOf(items, "libxc", other, nth)];
    return items.map((item, i) => (i === a ? items[b] : i === b ? items[a] : item) ?? item);
  };
const libxlRecord =
  (type: number, bytes: Buffer = Buffer.alloc(0)): Edit =>
  (items) =>
    items.toSpliced(-1, 0, { layer: "libxl", type, bytes });

/** All bytes before a record, and some of its own. */
const cutAt =
  (layer: "libxl" | "libxc", type: number, nth: number, more: number): Edit =>
  (items) => {
    const index = indexOf(items, layer, type, nth);
    const head = encodeSave(items.slice(0, index));
    let left = more;
    const tail = encodeSave(items.slice(index, index + 1)).map((part) => {
      const some = part.subarray(0, Math.max(0, left));
      left -= part.length;
      return some;
    });
    return [...head, ...tail];
  };
const trailing =
  (bytes: Buffer): Edit =>
  (items) => [...encodeSave(items), bytes];

const entry = (index: number, change: (high: number, low: number) => readonly [number, number]): Edit =>
  body(R.PAGE_DATA, (bytes) => {
    const at = 8 + 8 * index;
    const [high, low] = change(bytes.readUInt32LE(at + 4), bytes.readUInt32LE(at));
    bytes.writeUInt32LE(high >>> 0, at + 4);
    bytes.writeUInt32LE(low >>> 0, at);
    return undefined;
  });
const typed = (type: number): Edit => entry(0, (high, low) => [(high & 0xfff_ffff) | (type << 28), low]);

const VCPU = [R.X86_PV_VCPU_BASIC, R.X86_PV_VCPU_EXTENDED, R.X86_PV_VCPU_XSAVE, R.X86_PV_VCPU_MSRS];
const EMULATOR = Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]);
const PV_INFO = Buffer.from([8, 4, 0, 0, 0, 0, 0, 0]);
const P2M = Buffer.alloc(16);
const EMPTY_PARAMS = Buffer.alloc(8);
/** The last entry of an HVM context: END, without a body. */
const CONTEXT_END = 8;

export const MUTATIONS: Readonly<Record<string, Edit>> = {
  original: (items) => items,
  "trunc-mid-page": cutAt("libxc", R.PAGE_DATA, 0, 5000),
  "trunc-at-record": cutAt("libxc", R.PAGE_DATA, 1, 0),
  "trunc-in-rec-header": cutAt("libxc", R.PAGE_DATA, 1, 4),
  "trunc-before-libxc-end": cutAt("libxc", R.END, 0, 0),
  "trunc-before-libxl-end": cutAt("libxl", L.END, 0, 0),
  "trailing-16-bytes": trailing(Buffer.from("sixteen bytes...")),
  "trailing-zeros": trailing(Buffer.alloc(4096)),
  "xl-magic": header("xl", (bytes) => bytes.writeUInt8(0x59, 0)),
  "xl-unknown-mandatory-flag": header("xl", (bytes) => bytes.writeUInt32LE(bytes.readUInt32LE(36) | 4, 36)),
  "xl-byteorder": header("xl", (bytes) => bytes.writeUInt32BE(0x0102_0304, 32)),
  "xl-optlen+1": header("xl", (bytes) => bytes.writeUInt32LE(bytes.readUInt32LE(44) + 1, 44)),
  "xl-json-broken": header("xl", (bytes) => bytes.writeUInt8(0x78, 53)),
  "libxl-ident": header("libxl", (bytes) => bytes.writeUInt8(0x4d, 0)),
  "libxl-version-3": header("libxl", (bytes) => bytes.writeUInt32BE(3, 8)),
  "libxl-options-reserved": header("libxl", (bytes) => bytes.writeUInt32BE(4, 12)),
  "libxl-options-bigendian": header("libxl", (bytes) => bytes.writeUInt32BE(1, 12)),
  "ihdr-marker": header("libxc", (bytes) => bytes.writeUInt8(0xfe, 0)),
  "ihdr-id": header("libxc", (bytes) => bytes.writeUInt32BE(0x5845_4e47, 8)),
  "ihdr-version-4": header("libxc", (bytes) => bytes.writeUInt32BE(4, 12)),
  "ihdr-version-2": header("libxc", (bytes) => bytes.writeUInt32BE(2, 12)),
  "ihdr-options-bigendian": header("libxc", (bytes) => bytes.writeUInt16BE(1, 16)),
  "ihdr-options-reserved": header("libxc", (bytes) => bytes.writeUInt16BE(2, 16)),
  "ihdr-reserved": header("libxc", (bytes) => bytes.writeUInt32BE(1, 20)),
  "dhdr-type": header("libxc", (bytes) => bytes.writeUInt32LE(3, 0), 1),
  "dhdr-type-other": header("libxc", (bytes) => bytes.writeUInt32LE(3 - bytes.readUInt32LE(0), 0), 1),
  "dhdr-pageshift": header("libxc", (bytes) => bytes.writeUInt16LE(13, 4), 1),
  "dhdr-reserved": header("libxc", (bytes) => bytes.writeUInt16LE(1, 6), 1),
  "rec-unknown-mandatory": beforeTsc(0x20),
  "rec-unknown-optional": beforeTsc(0x8000_0001),
  "rec-type-bitflip": (items) =>
    withItem(items, indexOf(items, "libxc", R.X86_TSC_INFO), (item) => ({ ...item, type: 0x48 })),
  "rec-length+8": announced(R.X86_TSC_INFO, ({ length }) => length + 8),
  "rec-length-huge": announced(R.PAGE_DATA, () => 0x7fff_ffff),
  "rec-length-0": announced(R.X86_TSC_INFO, () => 0),
  "tsc-reserved": number32(R.X86_TSC_INFO, 20, 1),
  "page-count-0": number32(R.PAGE_DATA, 0, 0),
  "page-count+1": body(R.PAGE_DATA, (bytes) => {
    bytes.writeUInt32LE(bytes.readUInt32LE(0) + 1, 0);
    return undefined;
  }),
  "page-reserved": number32(R.PAGE_DATA, 4, 1),
  "pfn-type-5": typed(5),
  "pfn-reserved-bits": entry(0, (high, low) => [high | (1 << 20), low]),
  "pfn-type-to-xtab": typed(15),
  "pfn-duplicate": (items) => {
    const first = items[indexOf(items, "libxc", R.PAGE_DATA)]?.bytes;
    return entry(1, () => [first?.readUInt32LE(12) ?? 0, first?.readUInt32LE(8) ?? 0])(items);
  },
  "pfn-beyond-p2m": entry(0, (high) => [high & ~0xf_ffff, 0x7fff_ffff]),
  "pfn-pagetable-in-hvm-or-unpinned": typed(1),
  "page-content-flip": body(R.PAGE_DATA, (bytes) => {
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 100) ^ 1, bytes.length - 100);
    return undefined;
  }),
  "sde-missing": without(R.STATIC_DATA_END),
  "sde-twice": twice(R.STATIC_DATA_END),
  "sde-after-pages": moved([R.STATIC_DATA_END], R.PAGE_DATA, -1),
  "cpuid-missing": without(R.X86_CPUID_POLICY),
  "cpuid-len-odd": shorter(R.X86_CPUID_POLICY, 8),
  "msr-len-odd": shorter(R.X86_MSR_POLICY, 8),
  "msr-flags": number32(R.X86_MSR_POLICY, 4, 1),
  "cpuid-after-sde": swapped(R.X86_CPUID_POLICY, R.STATIC_DATA_END),
  "tsc-twice": twice(R.X86_TSC_INFO),
  "tsc-missing": without(R.X86_TSC_INFO),
  "tsc-first": (items) => {
    const index = indexOf(items, "libxc", R.X86_TSC_INFO);
    const others = items.toSpliced(index, 1);
    return others.toSpliced(headerAt(items, "libxc", 1) + 1, 0, ...items.slice(index, index + 1));
  },
  "page-records-swapped": swapped(R.PAGE_DATA, R.PAGE_DATA, 1),
  "page-record-missing": removed(R.PAGE_DATA, 1),
  "verify-record": beforeTsc(R.VERIFY),
  "checkpoint-record": beforeTsc(R.CHECKPOINT),
  "dirty-pfn-list": beforeTsc(R.CHECKPOINT_DIRTY_PFN_LIST, Buffer.alloc(8)),
  "toolstack-record": beforeTsc(R.TOOLSTACK, Buffer.alloc(8)),
  "libxl-unknown-mandatory": libxlRecord(6),
  "libxl-unknown-optional": libxlRecord(0x8000_0000),
  "libxl-emu-short": libxlRecord(L.EMULATOR_CONTEXT, EMULATOR.subarray(0, 4)),
  "libxl-xenstore-data": libxlRecord(
    L.EMULATOR_XENSTORE_DATA,
    Buffer.concat([EMULATOR, Buffer.from("physmap/0/size\x001000\0")]),
  ),
  "libxl-checkpoint-end": libxlRecord(L.CHECKPOINT_END),
  "pvinfo-width-5": body(R.X86_PV_INFO, () => Buffer.from([5, 4, 0, 0, 0, 0, 0, 0])),
  "pvinfo-levels-3": body(R.X86_PV_INFO, () => Buffer.from([8, 3, 0, 0, 0, 0, 0, 0])),
  "pvinfo-reserved": body(R.X86_PV_INFO, () => Buffer.from([8, 4, 1, 0, 0, 0, 0, 0])),
  "pvinfo-missing": without(R.X86_PV_INFO),
  "pvinfo-after-pages": moved([R.X86_PV_INFO], R.PAGE_DATA, -1),
  "p2m-missing": without(R.X86_PV_P2M_FRAMES),
  "p2m-end-flip": body(R.X86_PV_P2M_FRAMES, (bytes) => {
    bytes.writeUInt32LE(bytes.readUInt32LE(4) ^ 0x4000, 4);
    return undefined;
  }),
  "p2m-start>end": number32(R.X86_PV_P2M_FRAMES, 0, 0x7fff_ffff),
  "p2m-short": shorter(R.X86_PV_P2M_FRAMES, 8),
  "shared-info-missing": without(R.SHARED_INFO),
  "shared-info-short": shorter(R.SHARED_INFO, 8),
  "vcpu-basic-missing-all": without(...VCPU),
  "vcpu0-basic-missing": without(R.X86_PV_VCPU_BASIC),
  "vcpu-id-huge": number32(R.X86_PV_VCPU_BASIC, 0, 0x7fff_ffff),
  "vcpu-reserved": number32(R.X86_PV_VCPU_BASIC, 4, 1),
  "vcpu-basic-short": shorter(R.X86_PV_VCPU_BASIC, 8),
  "vcpu-basic-twice": twice(R.X86_PV_VCPU_BASIC),
  "vcpu-ext-empty": body(R.X86_PV_VCPU_EXTENDED, (bytes) => bytes.subarray(0, 8)),
  "vcpu-xsave-empty": body(R.X86_PV_VCPU_XSAVE, (bytes) => bytes.subarray(0, 8)),
  "vcpu-before-pages": moved(VCPU, R.PAGE_DATA, 0),
  "hvm-params-in-pv": beforeTsc(R.HVM_PARAMS, EMPTY_PARAMS),
  "hvm-context-in-pv": beforeTsc(R.HVM_CONTEXT, Buffer.alloc(8)),
  "params-missing": without(R.HVM_PARAMS),
  "params-count+1": body(R.HVM_PARAMS, (bytes) => {
    bytes.writeUInt32LE(bytes.readUInt32LE(0) + 1, 0);
    return undefined;
  }),
  "params-reserved": number32(R.HVM_PARAMS, 4, 1),
  "params-before-context": swapped(R.HVM_PARAMS, R.HVM_CONTEXT),
  "params-empty": body(R.HVM_PARAMS, () => EMPTY_PARAMS),
  "context-missing": without(R.HVM_CONTEXT),
  "context-empty": body(R.HVM_CONTEXT, () => Buffer.alloc(0)),
  "context-chain-broken": number32(R.HVM_CONTEXT, 4, 0x7f_ffff),
  "context-magic": number32(R.HVM_CONTEXT, 8, 1),
  "context-no-end": shorter(R.HVM_CONTEXT, CONTEXT_END),
  "shared-info-in-hvm": before(R.X86_TSC_INFO, record(R.SHARED_INFO, Buffer.alloc(4096))),
  "pvinfo-in-hvm": before(R.STATIC_DATA_END, record(R.X86_PV_INFO, PV_INFO)),
  "p2m-in-hvm": before(R.PAGE_DATA, record(R.X86_PV_P2M_FRAMES, P2M)),
};
