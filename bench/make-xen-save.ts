import * as fs from "node:fs";
import { roundUp } from "../src/io/alignment.js";
import {
  DOMAIN_TYPE,
  domainHeader,
  IMAGE_ID,
  IMAGE_MARKER,
  imageHeader,
  LIBXC_RECORD,
  recordHeader,
} from "../src/xen/libxc/layout.js";
import { hvmContext } from "../test/xen/stream/stream-maker.js";

const PAGE = 4096;
const BATCH = 1024;

export interface XenSaveShape {
  /** Pages of the guest; a multiple of 1024, at most 2^32. */
  readonly pages: number;
  /** Pages in ascending order as Xen sends them, or in no order at all: the worst case for an index. */
  readonly order: "ascending" | "shuffled";
  /** Contents are holes: an index doesn't look at them. Otherwise every other 256 KiB are zeros … */
  readonly sparse?: boolean;
  /** … unless no page is of zeros. */
  readonly full?: boolean;
  /** With a vCPU: `verify` finds nothing missing. */
  readonly vcpu?: boolean;
}

/** Writes a libxc stream of version 3 of a made-up HVM guest. */
export function writeXenSave(file: string, shape: XenSaveShape): void {
  const fd = fs.openSync(file, "w");
  let at = 0;
  const put = (bytes: Uint8Array): void => {
    for (let done = 0; done < bytes.length; )
      done += fs.writeSync(fd, bytes, done, bytes.length - done, at + done);
    at += bytes.length;
  };
  put(
    imageHeader.encode(
      { marker: IMAGE_MARKER, id: IMAGE_ID, version: 3, options: 0, reserved1: 0, reserved2: 0 },
      "little",
    ),
  );
  const domain = { type: DOMAIN_TYPE.x86Hvm, pageShift: 12, reserved1: 0, xenMajor: 4, xenMinor: 17 };
  put(domainHeader.encode(domain, "little"));
  put(recordHeader.encode({ type: LIBXC_RECORD.STATIC_DATA_END, bodyLength: 0 }, "little"));
  const head = new Uint8Array(recordHeader.size + 8 + BATCH * 8);
  const view = new DataView(head.buffer);
  const contents = new Uint8Array(BATCH * PAGE);
  let noise = 1;
  const words = new Uint32Array(contents.buffer);
  for (let i = 0; i < words.length; i += 1) {
    noise = (Math.imul(noise, 1664525) + 1013904223) >>> 0;
    words[i] = shape.full === true || (i >> 16) % 2 === 0 ? noise : 0;
  }
  // an odd multiplier walks through all frames of a power of two once
  const frame = (i: number): number =>
    shape.order === "ascending"
      ? i
      : (Math.imul(i, 0x9e3779b1) >>> 0) % 2 ** Math.ceil(Math.log2(shape.pages));
  for (let first = 0; first < shape.pages; first += BATCH) {
    const bodyLength = 8 + BATCH * 8 + BATCH * PAGE;
    recordHeader.write(view, 0, { type: LIBXC_RECORD.PAGE_DATA, bodyLength }, "little");
    view.setUint32(recordHeader.size, BATCH, true);
    for (let i = 0; i < BATCH; i += 1) view.setUint32(recordHeader.size + 8 + i * 8, frame(first + i), true);
    put(head);
    if (shape.sparse === true) at += contents.length;
    else put(contents);
  }
  const params = new Uint8Array(recordHeader.size + 24);
  recordHeader.write(
    new DataView(params.buffer),
    0,
    { type: LIBXC_RECORD.HVM_PARAMS, bodyLength: 24 },
    "little",
  );
  params[recordHeader.size] = 1;
  params[recordHeader.size + 8] = 1;
  put(params);
  if (shape.vcpu === true) {
    const body = hvmContext(1);
    put(recordHeader.encode({ type: LIBXC_RECORD.HVM_CONTEXT, bodyLength: body.length }, "little"));
    put(body);
    put(new Uint8Array(roundUp(body.length, 8) - body.length));
  }
  put(recordHeader.encode({ type: LIBXC_RECORD.END, bodyLength: 0 }, "little"));
  fs.closeSync(fd);
}
