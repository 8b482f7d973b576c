import { inOrder, layout, text, u32 } from "../../binary/layout.js";

const SPEC = "libxl Domain Image Format";

export const LIBXL_IDENT = "LibxlFmt";
export const LIBXL_VERSION = 2;
/** options: everything after the header is big endian. */
export const LIBXL_OPTION_BIG_ENDIAN = 1;
/** options: the stream was made by a converter from the legacy format. */
export const LIBXL_OPTION_LEGACY = 2;
export const LIBXL_KNOWN_OPTIONS: number = LIBXL_OPTION_BIG_ENDIAN | LIBXL_OPTION_LEGACY;

export const LIBXL_HEADER = layout("libxl header", `${SPEC}: header`, {
  ident: text(8, "`LibxlFmt`"),
  version: inOrder("big", u32("2")),
  options: inOrder("big", u32("bit 0: big endian from here on; bit 1: converted from legacy")),
});

export const LIBXL_RECORD_HEADER = layout("libxl record header", `${SPEC}: record`, {
  type: u32("record type; 0x80000000 and above are optional"),
  length: u32("octets of the body, without the zero padding to 8 behind it"),
});

export const LIBXL_RECORD = {
  END: 0,
  LIBXC_CONTEXT: 1,
  EMULATOR_XENSTORE_DATA: 2,
  EMULATOR_CONTEXT: 3,
  CHECKPOINT_END: 4,
  CHECKPOINT_STATE: 5,
} as const;

/** EMULATOR_XENSTORE_DATA and EMULATOR_CONTEXT start with it. */
export const EMULATOR_HEADER = layout("emulator sub-header", `${SPEC}: EMULATOR_CONTEXT`, {
  emulatorId: u32("0 unknown (legacy), 1 QEMU traditional, 2 QEMU upstream"),
  index: u32("which emulator of the domain, from 0"),
});

export const EMULATOR_NAMES: readonly string[] = ["unknown (legacy)", "QEMU traditional", "QEMU upstream"];

export const CHECKPOINT_STATE = layout("checkpoint state", `${SPEC}: CHECKPOINT_STATE`, {
  control: u32("0 new checkpoint, 1 secondary suspended, 2 secondary ready, 3 secondary resumed"),
  padding: u32("0"),
});
