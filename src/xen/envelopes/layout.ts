import { array, latin1Bytes, layout, bytes, u32, u64 } from "../../binary/layout.js";

const XAPI_SPEC = "XAPI suspend image (xenopsd), version 2";
const LIBVIRT_SPEC = "libvirt's libxl driver: save file";

/** First bytes of an image that XAPI (XenServer, XCP-ng) suspended a domain into. */
export const XAPI_MAGIC: Uint8Array = latin1Bytes("XenSavedDomv2-\n");

/** Little endian. Streams have length 0: they end with their own END. */
export const xapiRecordHeader = layout("XAPI record header", `${XAPI_SPEC}: records`, {
  type: u64("kind of record"),
  length: u64("bytes that follow; 0 for a stream that ends itself"),
});

/** Types of records of an XAPI image. */
export const XAPI_RECORD = {
  xenops: 0x000f,
  libxc: 0x00f0,
  libxl: 0x00f1,
  libxcLegacy: 0x00f2,
  qemuTraditional: 0x0f00,
  qemuXen: 0x0f01,
  demu: 0x0f10,
  end: 0xffff,
} as const;

/** Names of the record types, for people. */
export const XAPI_RECORD_NAMES: ReadonlyMap<number, string> = new Map([
  [XAPI_RECORD.xenops, "Xenops"],
  [XAPI_RECORD.libxc, "libxc"],
  [XAPI_RECORD.libxl, "libxl"],
  [XAPI_RECORD.libxcLegacy, "libxc legacy"],
  [XAPI_RECORD.qemuTraditional, "QEMU traditional"],
  [XAPI_RECORD.qemuXen, "QEMU"],
  [XAPI_RECORD.demu, "demu"],
  [XAPI_RECORD.end, "end of image"],
]);

/** First bytes of a file that libvirt's libxl driver saved a domain into. */
export const LIBVIRT_LIBXL_MAGIC: Uint8Array = latin1Bytes("libvirt-xml\n \0 \r");

/** 64 bytes, in the order of the host that wrote it; the domain's XML follows, then the libxl stream. */
export const libvirtLibxlHeader = layout("libvirt libxl save header", `${LIBVIRT_SPEC}: header`, {
  magic: bytes(16, "'libvirt-xml\\n \\0 \\r'"),
  version: u32("1: a legacy stream follows, 2: a libxl stream"),
  xmlLength: u32("bytes of the domain's XML, its closing NUL included"),
  unused: array(u32("0"), 10, "padding to 64 bytes"),
});

/** Known versions of libvirt's file. */
export const LIBVIRT_LIBXL_VERSIONS: readonly number[] = [1, 2];
/** More is no domain's description. */
export const XML_LIMIT: number = 16 << 20;
