import type { ByteOrder } from "../../../src/binary/layout.js";
import { latin1Bytes, viewOf, writeU64 } from "../../../src/binary/layout.js";
import {
  SAVE_MAGIC,
  SAVE_TYPE,
  saveCpu,
  saveDescriptor,
  saveHeader,
} from "../../../src/xen/hvm-context/layout.js";
import {
  cpuidPolicyEntry,
  DOMAIN_TYPE,
  domainHeader,
  hvmParam,
  hvmParamsHeader,
  IMAGE_ID,
  IMAGE_MARKER,
  imageHeader,
  LIBXC_RECORD as R,
  msrPolicyEntry,
  p2mFramesHeader,
  PAGE_TYPE_HAS_DATA,
  pageDataHeader,
  pvInfo,
  recordHeader,
  tscInfo,
  VCPU_CONTEXT_SIZE,
  vcpuHeader,
  vcpuMsr,
} from "../../../src/xen/libxc/layout.js";
import {
  LIBXL_IDENT,
  LIBXL_RECORD,
  LIBXL_VERSION,
  libxlEmulatorHeader,
  libxlHeader,
} from "../../../src/xen/libxl/layout.js";
import { XL_BYTE_ORDER, XL_FLAGS, XL_MAGIC, xlHeader, xlOptionalData } from "../../../src/xen/xl/layout.js";

export interface MadeRecord {
  readonly type: number;
  readonly body: Uint8Array;
}

/** What a made stream is of. */
export interface Shape {
  readonly guest: "pv" | "hvm";
  readonly version: 2 | 3;
  readonly order: ByteOrder;
  readonly layer: "xl" | "libxl" | "libxc";
  readonly width?: 4 | 8;
  readonly vcpus?: number;
  /** pfns with contents. */
  readonly pages?: number;
  /** Consistent states before the last one, each closed by CHECKPOINT. */
  readonly checkpoints?: number;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export function encodeRecord({ type, body }: MadeRecord, order: ByteOrder): Uint8Array {
  const header = recordHeader.encode({ type, bodyLength: body.length }, order);
  return joined(header, body, new Uint8Array(-body.length & 7));
}

/** A PAGE_DATA body: entries as [type, pfn], each page filled with its pfn's low byte. */
export function pageData(
  entries: readonly (readonly [type: number, pfn: number])[],
  order: ByteOrder,
): Uint8Array {
  const words = new Uint8Array(entries.length * 8);
  const view = viewOf(words);
  const little = order === "little";
  for (const [i, [type, pfn]] of entries.entries()) {
    writeU64(view, i * 8, pfn, little);
    const high = i * 8 + (little ? 4 : 0);
    view.setUint32(high, (view.getUint32(high, little) | (type << 28)) >>> 0, little);
  }
  const pages = entries
    .filter(([type]) => PAGE_TYPE_HAS_DATA[type])
    .map(([, pfn]) => new Uint8Array(4096).fill(pfn & 0xff));
  return joined(pageDataHeader.encode({ count: entries.length, reserved: 0 }, order), words, ...pages);
}

/** A chain of a header, one CPU entry a processor, and the end. */
export function hvmContext(vcpus: number): Uint8Array {
  const entry = (typecode: number, instance: number, body: Uint8Array): Uint8Array =>
    joined(saveDescriptor.encode({ typecode, instance, length: body.length }, "little"), body);
  const header = saveHeader.encode(
    { magic: SAVE_MAGIC, version: 1, changeset: 0n, cpuid: 0x800f12, gtscKhz: 2_000_000 },
    "little",
  );
  const cpus = Array.from({ length: vcpus }, (_, id) => {
    const body = new Uint8Array(saveCpu.size);
    viewOf(body).setBigUint64(saveCpu.offsetOf("rip"), BigInt(0x1000 + id), true);
    return entry(SAVE_TYPE.CPU, id, body);
  });
  return joined(entry(SAVE_TYPE.HEADER, 0, header), ...cpus, entry(SAVE_TYPE.END, 0, new Uint8Array(0)));
}

const EMPTY = new Uint8Array(0);

/** The records of a valid libxc stream, from after the domain header to END. */
export function libxcRecords(shape: Shape): MadeRecord[] {
  const { guest, version, order, width = 8, vcpus = 1, pages = 4, checkpoints = 0 } = shape;
  const statics: MadeRecord[] =
    version === 2
      ? []
      : [
          {
            type: R.X86_CPUID_POLICY,
            body: cpuidPolicyEntry.encode({ leaf: 0, subleaf: 0xffff_ffff, a: 13, b: 0, c: 0, d: 0 }, order),
          },
          {
            type: R.X86_MSR_POLICY,
            body: msrPolicyEntry.encode({ index: 0xce, flags: 0, value: 0n }, order),
          },
          { type: R.STATIC_DATA_END, body: EMPTY },
        ];
  const memory: MadeRecord = {
    type: R.PAGE_DATA,
    body: pageData(
      Array.from({ length: pages + 1 }, (_, i) => [i === pages ? 15 : guest === "pv" && i === 1 ? 1 : 0, i]),
      order,
    ),
  };
  const tsc: MadeRecord = {
    type: R.X86_TSC_INFO,
    body: tscInfo.encode({ mode: 0, khz: 2_000_000, nsec: 1n, incarnation: 1, reserved: 0 }, order),
  };
  const state =
    guest === "pv"
      ? [
          tsc,
          { type: R.SHARED_INFO, body: new Uint8Array(4096) },
          ...Array.from({ length: vcpus }, (_, id) => pvVcpu(id, width, order)).flat(),
        ]
      : [
          tsc,
          { type: R.HVM_CONTEXT, body: hvmContext(vcpus) },
          {
            type: R.HVM_PARAMS,
            body: joined(
              hvmParamsHeader.encode({ count: 1, reserved: 0 }, order),
              hvmParam.encode({ index: 1, value: 0xfeffcn }, order),
            ),
          },
        ];
  const pv: MadeRecord[] = [
    {
      type: R.X86_PV_INFO,
      body: pvInfo.encode(
        { guestWidth: width, ptLevels: width === 8 ? 4 : 3, reserved1: 0, reserved2: 0 },
        order,
      ),
    },
  ];
  const p2m: MadeRecord[] = [
    {
      type: R.X86_PV_P2M_FRAMES,
      body: joined(p2mFramesHeader.encode({ startPfn: 0, endPfn: pages }, order), new Uint8Array(8)),
    },
  ];
  const states = Array.from({ length: checkpoints }, () => [
    memory,
    ...state,
    { type: R.CHECKPOINT, body: EMPTY },
  ]);
  return [
    ...(guest === "pv" ? pv : []),
    ...statics,
    ...(guest === "pv" ? p2m : []),
    ...states.flat(),
    memory,
    ...state,
    { type: R.END, body: EMPTY },
  ];
}

function pvVcpu(vcpuId: number, width: 4 | 8, order: ByteOrder): MadeRecord[] {
  const head = vcpuHeader.encode({ vcpuId, reserved: 0 }, order);
  const xsave = new Uint8Array(16 + 576);
  viewOf(xsave).setBigUint64(0, 3n, order === "little");
  viewOf(xsave).setBigUint64(8, 3n, order === "little");
  return [
    { type: R.X86_PV_VCPU_BASIC, body: joined(head, new Uint8Array(VCPU_CONTEXT_SIZE[width])) },
    { type: R.X86_PV_VCPU_EXTENDED, body: joined(head, new Uint8Array(64)) },
    { type: R.X86_PV_VCPU_XSAVE, body: joined(head, xsave) },
    {
      type: R.X86_PV_VCPU_MSRS,
      body: joined(head, vcpuMsr.encode({ index: 0xc000_0103, reserved: 0, value: 1n }, order)),
    },
  ];
}

/** Puts records into the layers of `shape`. */
export function wrap(shape: Shape, records: readonly MadeRecord[]): Uint8Array {
  const { order, guest, version, layer } = shape;
  const options = order === "big" ? 1 : 0;
  const headers = joined(
    imageHeader.encode(
      { marker: IMAGE_MARKER, id: IMAGE_ID, version, options, reserved1: 0, reserved2: 0 },
      "big",
    ),
    domainHeader.encode(
      {
        type: guest === "pv" ? DOMAIN_TYPE.x86Pv : DOMAIN_TYPE.x86Hvm,
        pageShift: 12,
        reserved1: 0,
        xenMajor: 4,
        xenMinor: version === 2 ? 13 : 17,
      },
      order,
    ),
  );
  const libxl = (type: number, body: Uint8Array = EMPTY): Uint8Array => encodeRecord({ type, body }, order);
  const emulator = libxlEmulatorHeader.encode({ emulatorId: 2, index: 0 }, order);
  // Xen restores no PV guest that has them
  const emulators =
    guest === "pv"
      ? []
      : [
          libxl(
            LIBXL_RECORD.EMULATOR_XENSTORE_DATA,
            joined(emulator, latin1Bytes("physmap/0/size\x001000\0")),
          ),
          libxl(LIBXL_RECORD.EMULATOR_CONTEXT, joined(emulator, latin1Bytes("QEVM\0\0\0\x03 state"))),
        ];
  const parts = records.flatMap((record) => {
    const bytes = encodeRecord(record, order);
    const back = layer !== "libxc" && record.type === R.CHECKPOINT;
    return back ? [bytes, ...emulators, libxl(LIBXL_RECORD.CHECKPOINT_END)] : [bytes];
  });
  const libxc = joined(headers, ...parts);
  if (layer === "libxc") return libxc;
  const inLibxl = joined(
    libxlHeader.encode({ ident: LIBXL_IDENT, version: LIBXL_VERSION, options }, "big"),
    libxl(LIBXL_RECORD.LIBXC_CONTEXT),
    libxc,
    ...emulators,
    libxl(LIBXL_RECORD.END),
  );
  if (layer === "libxl") return inLibxl;
  const config = latin1Bytes(`{"c_info":{"type":"${guest}","name":"made"},"b_info":{"max_vcpus":1}}\0`);
  return joined(
    xlHeader.encode(
      {
        magic: XL_MAGIC,
        byteorder: XL_BYTE_ORDER,
        mandatoryFlags: XL_FLAGS.json | XL_FLAGS.streamV2,
        optionalFlags: 0,
        optionalDataLength: xlOptionalData.size + config.length,
      },
      order,
    ),
    xlOptionalData.encode({ configLength: config.length }, order),
    config,
    inLibxl,
  );
}

/** A valid stream. */
export function makeStream(shape: Shape): Uint8Array {
  return wrap(shape, libxcRecords(shape));
}
