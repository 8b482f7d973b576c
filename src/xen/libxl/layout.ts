import { type ByteOrder, inOrder, layout, u32, u64big } from "../../binary/layout.js";

const SPEC = "libxl migration stream";

/** First eight bytes of a libxl stream. */
export const LIBXL_MAGIC = "LibxlFmt";
/** `LibxlFmt` as a big endian number. */
export const LIBXL_IDENT = 0x4c69_6278_6c46_6d74n;
/** The only version of the libxl stream. */
export const LIBXL_VERSION = 2;

/** Bits of the header's options. */
export const LIBXL_OPTIONS = {
  bigEndian: 1 << 0,
  /** Made by the converter of legacy streams. */
  legacy: 1 << 1,
} as const;
/** Bits of the options that must be 0. */
export const LIBXL_RESERVED_OPTIONS = 0xffff_fffc;

/** Header of a libxl stream, always big endian. */
export const libxlHeader = layout("libxl header", `${SPEC}: header`, {
  ident: inOrder("big", u64big("'LibxlFmt', 0x4c6962786c466d74")),
  version: inOrder("big", u32("2")),
  options: inOrder("big", u32("bit 0: big endian after this header, bit 1: converted from a legacy stream")),
});

/** Byte order of what follows a header with these options: libxl and libxc share bit 0. */
export function orderOf(options: number): ByteOrder {
  return (options & LIBXL_OPTIONS.bigEndian) === 0 ? "little" : "big";
}

/** In stream order, like everything below. */
export const libxlRecordHeader = layout("libxl record header", `${SPEC}: records`, {
  type: u32("kind of record; from 0x80000000 on optional"),
  bodyLength: u32("bytes of the body, without padding to 8"),
});

/** Types of records, by the names of the specification. */
export const LIBXL_RECORD = {
  END: 0,
  LIBXC_CONTEXT: 1,
  EMULATOR_XENSTORE_DATA: 2,
  EMULATOR_CONTEXT: 3,
  CHECKPOINT_END: 4,
  CHECKPOINT_STATE: 5,
} as const;
/** Name of a record type. */
export type LibxlRecordName = keyof typeof LIBXL_RECORD;

/** Opens the body of EMULATOR_XENSTORE_DATA and EMULATOR_CONTEXT. */
export const libxlEmulatorHeader = layout("libxl emulator header", `${SPEC}: EMULATOR_* records`, {
  emulatorId: u32("0 unknown, 1 QEMU traditional, 2 QEMU upstream"),
  index: u32("ordinal of this emulator"),
});

/** Emulators by id. */
export const LIBXL_EMULATOR = { unknown: 0, qemuTraditional: 1, qemuUpstream: 2 } as const;
/** By id: the name of an emulator. */
export const EMULATOR_NAMES: readonly string[] = ["unknown", "QEMU traditional", "QEMU upstream"];

/** Body of CHECKPOINT_STATE. */
export const libxlCheckpointState = layout("libxl checkpoint state", `${SPEC}: CHECKPOINT_STATE`, {
  id: u32("0 new checkpoint, 1 secondary suspended, 2 ready, 3 resumed"),
  padding: u32("0"),
});
