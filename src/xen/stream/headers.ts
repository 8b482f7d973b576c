import { type ByteOrder, latin1 } from "../../binary/layout.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import type { ByteReader } from "../../io/byte-reader.js";
import {
  DOMAIN_TYPE,
  domainHeader,
  IMAGE_ID,
  IMAGE_MARKER,
  IMAGE_RESERVED_OPTIONS,
  IMAGE_VERSIONS,
  imageHeader,
} from "../libxc/layout.js";
import { LIBXC_RULES } from "../libxc/rules.js";
import { LIBXL_IDENT, LIBXL_RESERVED_OPTIONS, LIBXL_VERSION, libxlHeader, orderOf } from "../libxl/layout.js";
import { LIBXL_RULES } from "../libxl/rules.js";
import type { DomainHeaderItem, ImageHeaderItem, LibxlHeaderItem, XlHeaderItem } from "./items.js";
import { STREAM_RULES } from "./rules.js";
import { decodeConfig, isJson } from "../xl/config.js";
import { XL_BYTE_ORDER, XL_FLAGS, XL_KNOWN_FLAGS, XL_MAGIC, xlHeader, xlOptionalData } from "../xl/layout.js";
import { XL_RULES } from "../xl/rules.js";

/** A configuration is text of some KiB; a longer one is not looked at. */
const CONFIG_LIMIT = 4 << 20;

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** What headers are read from, and where what is wrong with them is reported. */
export interface HeaderInput {
  readonly reader: ByteReader;
  readonly diagnostics: Diagnostics;
}

/** Makes a header available, or reports that the input ends in it. */
async function arrives(stream: HeaderInput, size: number, what: string): Promise<boolean> {
  if (await stream.reader.need(size)) return true;
  const { position, available } = stream.reader;
  const message = `the input ends ${size - available} bytes before the end of the ${what}`;
  stream.diagnostics.report(STREAM_RULES.truncated, { offset: position + available }, message);
  return false;
}

/** Reads the header of an xl save file and its configuration. Undefined: reported, and reading can't go on. */
export async function readXlHeader(stream: HeaderInput): Promise<XlHeaderItem | undefined> {
  const { reader, diagnostics } = stream;
  const offset = reader.position;
  if (!(await arrives(stream, xlHeader.size, "xl header"))) return undefined;
  if (!reader.peek(XL_MAGIC.length).every((byte, i) => byte === XL_MAGIC[i])) {
    diagnostics.report(XL_RULES.magic, { offset }, "the 32 bytes of the magic are damaged");
  }
  const orders: readonly ByteOrder[] = ["little", "big"];
  const order = orders.find((o) => xlHeader.read(reader.view, reader.at, o).byteorder === XL_BYTE_ORDER);
  const place = { offset: offset + xlHeader.offsetOf("byteorder") };
  if (order === undefined) {
    const { byteorder } = xlHeader.read(reader.view, reader.at, "little");
    diagnostics.report(XL_RULES.byteOrder, place, `${hex(byteorder)} is 0x01020304 in neither byte order`);
    return undefined;
  }
  const header = xlHeader.read(reader.view, reader.at, order);
  reader.take(xlHeader.size);
  const flagsPlace = { offset: offset + xlHeader.offsetOf("mandatoryFlags") };
  const unknown = (header.mandatoryFlags & ~XL_KNOWN_FLAGS) >>> 0;
  if (unknown !== 0)
    diagnostics.report(XL_RULES.unknownFlags, flagsPlace, `mandatory flags ${hex(unknown)} have no meaning`);
  if (header.optionalFlags !== 0) {
    const at = offset + xlHeader.offsetOf("optionalFlags");
    diagnostics.report(XL_RULES.optionalFlags, { offset: at }, `optional flags ${hex(header.optionalFlags)}`);
  }
  const json = (header.mandatoryFlags & XL_FLAGS.json) !== 0;
  const config = await readConfig(stream, header.optionalDataLength, order, json);
  if (config === false) return undefined;
  if ((header.mandatoryFlags & XL_FLAGS.streamV2) === 0) {
    diagnostics.report(XL_RULES.legacy, flagsPlace, "a legacy stream follows");
    return undefined;
  }
  return { kind: "xl-header", offset, header, order, config, json };
}

/** The configuration; undefined: there is none; false: the input ends in it. */
async function readConfig(
  stream: HeaderInput,
  length: number,
  order: ByteOrder,
  json: boolean,
): Promise<string | undefined | false> {
  const { reader, diagnostics } = stream;
  const offset = reader.position;
  let left = length;
  let config: string | undefined;
  if (length >= xlOptionalData.size) {
    if (!(await arrives(stream, xlOptionalData.size, "optional data"))) return false;
    const { configLength } = xlOptionalData.read(reader.view, reader.at, order);
    reader.take(xlOptionalData.size);
    left -= xlOptionalData.size;
    if (configLength > left) {
      const message = `a configuration of ${configLength} bytes in ${left} bytes of optional data`;
      diagnostics.report(XL_RULES.optionalData, { offset }, message);
    } else if (configLength > 0 && configLength <= CONFIG_LIMIT) {
      if (!(await arrives(stream, configLength, "configuration"))) return false;
      config = decodeConfig(reader.take(configLength));
      left -= configLength;
      if (json && !isJson(config)) {
        diagnostics.report(
          XL_RULES.config,
          { offset: offset + xlOptionalData.size },
          "the configuration can't be parsed as JSON",
        );
      }
    }
  } else if (length > 0) {
    diagnostics.report(
      XL_RULES.optionalData,
      { offset },
      `${length} bytes of optional data don't hold a length`,
    );
  }
  if (config === undefined) diagnostics.report(XL_RULES.noConfig, { offset }, "no domain configuration");
  const skipped = await reader.skip(left);
  if (skipped === left) return config;
  const message = `the input ends ${left - skipped} bytes before the end of the optional data`;
  diagnostics.report(STREAM_RULES.truncated, { offset: reader.position }, message);
  return false;
}

/** Reads the libxl header. Undefined: reported, and reading can't go on. */
export async function readLibxlHeader(stream: HeaderInput): Promise<LibxlHeaderItem | undefined> {
  const { reader, diagnostics } = stream;
  const offset = reader.position;
  if (!(await arrives(stream, libxlHeader.size, "libxl header"))) return undefined;
  const header = libxlHeader.read(reader.view, reader.at, "big");
  if (header.ident !== LIBXL_IDENT) {
    const found = JSON.stringify(latin1(reader.peek(8)));
    diagnostics.report(LIBXL_RULES.ident, { offset }, `'LibxlFmt' expected, found ${found}`);
    if (header.version !== LIBXL_VERSION) return undefined;
  }
  reader.take(libxlHeader.size);
  if (header.version !== LIBXL_VERSION) {
    const at = offset + libxlHeader.offsetOf("version");
    diagnostics.report(LIBXL_RULES.version, { offset: at }, `version ${header.version}, only 2 exists`);
  }
  const reserved = (header.options & LIBXL_RESERVED_OPTIONS) >>> 0;
  if (reserved !== 0) {
    const at = offset + libxlHeader.offsetOf("options");
    diagnostics.report(LIBXL_RULES.reservedOptions, { offset: at }, `reserved option bits ${hex(reserved)}`);
  }
  return { kind: "libxl-header", offset, header, order: orderOf(header.options) };
}

/** @param around byte order of the libxl layer, where there is one */
export async function readImageHeader(
  stream: HeaderInput,
  around: ByteOrder | undefined,
): Promise<ImageHeaderItem | undefined> {
  const { reader, diagnostics } = stream;
  const offset = reader.position;
  if (!(await arrives(stream, imageHeader.size, "libxc image header"))) return undefined;
  const header = imageHeader.read(reader.view, reader.at, "big");
  const place = (field: keyof typeof header): { offset: number } => ({
    offset: offset + imageHeader.offsetOf(field),
  });
  const goodMarker = header.marker === IMAGE_MARKER;
  const goodId = header.id === IMAGE_ID;
  if (!goodMarker)
    diagnostics.report(LIBXC_RULES.marker, place("marker"), `marker ${hex(header.marker)} is not all ones`);
  if (!goodId) diagnostics.report(LIBXC_RULES.ident, place("id"), `id ${hex(header.id)} is not 'XENF'`);
  if (!goodMarker && !goodId) return undefined;
  reader.take(imageHeader.size);
  if (!IMAGE_VERSIONS.includes(header.version)) {
    diagnostics.report(
      LIBXC_RULES.version,
      place("version"),
      `version ${header.version}, only 2 and 3 exist`,
    );
  }
  const reserved = header.options & IMAGE_RESERVED_OPTIONS;
  if (reserved !== 0) {
    diagnostics.report(
      LIBXC_RULES.imageReservedOptions,
      place("options"),
      `reserved option bits ${hex(reserved)}`,
    );
  }
  if (header.reserved1 !== 0 || header.reserved2 !== 0) {
    const values = `${hex(header.reserved1)} and ${hex(header.reserved2)}`;
    diagnostics.report(LIBXC_RULES.imageReserved, place("reserved1"), `reserved fields hold ${values}`);
  }
  let order = orderOf(header.options);
  if (await reader.need(domainHeader.size)) {
    const other: ByteOrder = order === "little" ? "big" : "little";
    const plausible = (o: ByteOrder): boolean => {
      const domain = domainHeader.read(reader.view, reader.at, o);
      return domain.type <= 0xffff && domain.pageShift === 12;
    };
    if (!plausible(order) && plausible(other)) {
      const message = `the options say ${order} endian, the domain header is ${other} endian`;
      diagnostics.report(LIBXC_RULES.orderContradicted, place("options"), message);
      order = other;
    }
  }
  if (around !== undefined && around !== order) {
    diagnostics.report(
      LIBXC_RULES.orderDiffers,
      place("options"),
      `libxl is ${around} endian, libxc ${order} endian`,
    );
  }
  return { kind: "image-header", offset, header, order };
}

/** Reads the domain header. Undefined: reported, the input ends in it. */
export async function readDomainHeader(
  stream: HeaderInput,
  order: ByteOrder,
): Promise<DomainHeaderItem | undefined> {
  const { reader, diagnostics } = stream;
  const offset = reader.position;
  if (!(await arrives(stream, domainHeader.size, "libxc domain header"))) return undefined;
  const header = domainHeader.read(reader.view, reader.at, order);
  reader.take(domainHeader.size);
  const known: readonly number[] = Object.values(DOMAIN_TYPE);
  if (!known.includes(header.type)) {
    diagnostics.report(LIBXC_RULES.domainType, { offset }, `domain type ${hex(header.type)} is not defined`);
  }
  if (header.pageShift !== 12) {
    const at = offset + domainHeader.offsetOf("pageShift");
    diagnostics.report(
      LIBXC_RULES.pageShift,
      { offset: at },
      `page shift ${header.pageShift}, only 12 exists`,
    );
  }
  if (header.reserved1 !== 0) {
    const at = offset + domainHeader.offsetOf("reserved1");
    diagnostics.report(
      LIBXC_RULES.domainReserved,
      { offset: at },
      `reserved field holds ${hex(header.reserved1)}`,
    );
  }
  return { kind: "domain-header", offset, header };
}
