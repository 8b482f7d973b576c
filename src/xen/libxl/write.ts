import { latin1Bytes } from "../../binary/layout.js";
import { joined, record } from "../libxc/write.js";
import {
  LIBXL_EMULATOR,
  LIBXL_IDENT,
  LIBXL_OPTIONS,
  LIBXL_RECORD,
  LIBXL_VERSION,
  libxlEmulatorHeader,
  libxlHeader,
} from "./layout.js";

const ORDER = "little";

/** Header of a stream made from a legacy one, and the record that the libxc stream follows. */
export function convertedStreamStart(): Uint8Array {
  const header = libxlHeader.encode(
    { ident: LIBXL_IDENT, version: LIBXL_VERSION, options: LIBXL_OPTIONS.legacy },
    "big",
  );
  return joined(header, record(LIBXL_RECORD.LIBXC_CONTEXT));
}

/** Which emulator a record is of, where that is unknown. */
export function unknownEmulator(): Uint8Array {
  return libxlEmulatorHeader.encode({ emulatorId: LIBXL_EMULATOR.unknown, index: 0 }, ORDER);
}

/** Memory that QEMU keeps at another guest-physical address. */
export interface PhysmapEntry {
  readonly physOffset: bigint;
  readonly startAddr: bigint;
  readonly size: bigint;
  /** Without a closing NUL; undefined: no name. */
  readonly name: Uint8Array | undefined;
}

/** EMULATOR_XENSTORE_DATA with QEMU's physmap as keys and values, each closed by a NUL. */
export function xenstoreDataRecord(physmap: readonly PhysmapEntry[]): Uint8Array {
  const pairs = physmap.flatMap(({ physOffset, startAddr, size, name }) => {
    const key = `physmap/${physOffset.toString(16)}`;
    const pair = (leaf: string, value: Uint8Array): Uint8Array =>
      joined(latin1Bytes(`${key}/${leaf}\0`), value, latin1Bytes("\0"));
    return [
      pair("start_addr", latin1Bytes(startAddr.toString(16))),
      pair("size", latin1Bytes(size.toString(16))),
      ...(name === undefined ? [] : [pair("name", name)]),
    ];
  });
  return record(LIBXL_RECORD.EMULATOR_XENSTORE_DATA, unknownEmulator(), ...pairs);
}

/** END of the libxl layer. */
export function libxlEndRecord(): Uint8Array {
  return record(LIBXL_RECORD.END);
}
