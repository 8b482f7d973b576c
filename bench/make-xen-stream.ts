import * as fs from "node:fs";
import { viewOf } from "../src/binary/layout.js";
import {
  DOMAIN_TYPE,
  domainHeader,
  hvmParam,
  hvmParamsHeader,
  IMAGE_ID,
  IMAGE_MARKER,
  imageHeader,
  LIBXC_RECORD,
  PAGE_TYPE,
  pageDataHeader,
  recordHeader,
} from "../src/xen/libxc/layout.js";
import { SAVE_MAGIC, SAVE_TYPE, saveDescriptor, saveHeader } from "../src/xen/hvm-context/layout.js";

const PAGE = 4096;
const BATCH = 1024;

export interface XenStreamShape {
  /** Pages with contents. */
  readonly pages: number;
  /** Leave page contents as holes of the file instead of writing them. */
  readonly holes?: boolean;
  /** Of every two pages one is of zeros (else all have contents that differ). */
  readonly halfZero?: boolean;
  /** Entries of type XTAB, without contents, in records of 1024. */
  readonly empty?: number;
  /** Order of the pfns in which pages stand: ascending, or scattered as a long live migration leaves them. */
  readonly shuffled?: boolean;
}

/** Writes an HVM stream of version 3 (libxc layer) to a file. */
export function makeXenStream(path: string, shape: XenStreamShape): void {
  const fd = fs.openSync(path, "w");
  let at = 0;
  const write = (bytes: Uint8Array): void => {
    fs.writeSync(fd, bytes, 0, bytes.length, at);
    at += bytes.length;
  };
  const record = (type: number, body: Uint8Array): void => {
    write(recordHeader.encode({ type, bodyLength: body.length }, "little"));
    write(body);
    at += -body.length & 7;
  };
  write(
    imageHeader.encode(
      { marker: IMAGE_MARKER, id: IMAGE_ID, version: 3, options: 0, reserved1: 0, reserved2: 0 },
      "big",
    ),
  );
  write(
    domainHeader.encode(
      { type: DOMAIN_TYPE.x86Hvm, pageShift: 12, reserved1: 0, xenMajor: 4, xenMinor: 17 },
      "little",
    ),
  );
  record(LIBXC_RECORD.STATIC_DATA_END, new Uint8Array(0));

  const entries = (first: number, count: number, type: number): Uint8Array => {
    const body = new Uint8Array(pageDataHeader.size + count * 8);
    const view = viewOf(body);
    pageDataHeader.write(view, 0, { count, reserved: 0 }, "little");
    for (let i = 0; i < count; i += 1) {
      const pfn = shape.shuffled === true ? scatter(first + i, shape.pages) : first + i;
      view.setUint32(8 + i * 8, pfn, true);
      view.setUint32(12 + i * 8, (type << 28) >>> 0, true);
    }
    return body;
  };

  const contents = shape.holes === true ? undefined : filledBatch(shape.halfZero === true);
  for (let pfn = 0; pfn < shape.pages; pfn += BATCH) {
    const count = Math.min(BATCH, shape.pages - pfn);
    const head = entries(pfn, count, PAGE_TYPE.NOTAB);
    write(
      recordHeader.encode({ type: LIBXC_RECORD.PAGE_DATA, bodyLength: head.length + count * PAGE }, "little"),
    );
    write(head);
    if (contents === undefined) at += count * PAGE;
    else write(contents.subarray(0, count * PAGE));
  }
  const empty = shape.empty ?? 0;
  for (let pfn = shape.pages; pfn < shape.pages + empty; pfn += BATCH) {
    record(LIBXC_RECORD.PAGE_DATA, entries(pfn, Math.min(BATCH, shape.pages + empty - pfn), PAGE_TYPE.XTAB));
  }
  const context = new Uint8Array(2 * saveDescriptor.size + saveHeader.size);
  saveDescriptor.write(
    viewOf(context),
    0,
    { typecode: SAVE_TYPE.HEADER, instance: 0, length: saveHeader.size },
    "little",
  );
  saveHeader.write(
    viewOf(context),
    saveDescriptor.size,
    { magic: SAVE_MAGIC, version: 1, changeset: 0n, cpuid: 0, gtscKhz: 0 },
    "little",
  );
  // the END entry is eight zeros
  record(LIBXC_RECORD.HVM_CONTEXT, context);
  const params = new Uint8Array(hvmParamsHeader.size + hvmParam.size);
  hvmParamsHeader.write(viewOf(params), 0, { count: 1, reserved: 0 }, "little");
  hvmParam.write(viewOf(params), hvmParamsHeader.size, { index: 1, value: 0xfeffcn }, "little");
  record(LIBXC_RECORD.HVM_PARAMS, params);
  record(LIBXC_RECORD.END, new Uint8Array(0));
  fs.ftruncateSync(fd, at);
  fs.closeSync(fd);
}

/** A permutation of 0 … pages − 1 with no run of neighbours: a stride prime to the number of pages. */
function scatter(index: number, pages: number): number {
  const stride = 40503 % pages;
  return gcd(stride, pages) === 1 ? (index * stride) % pages : pages - 1 - index;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** Contents of one batch: a word that counts up, so that nothing compresses away unnoticed. */
function filledBatch(halfZero: boolean): Uint8Array {
  const bytes = new Uint8Array(BATCH * PAGE);
  const words = new Uint32Array(bytes.buffer);
  let state = 0x9e3779b9;
  for (let i = 0; i < words.length; i += 1) {
    if (halfZero && (i >> 10) % 2 === 1) continue;
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = state;
  }
  return bytes;
}
