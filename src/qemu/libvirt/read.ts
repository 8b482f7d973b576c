import { type ByteOrder, viewOf } from "../../binary/layout.js";
import { type Diagnostics, formatError } from "../../findings/diagnostics.js";
import type { ByteReader } from "../../io/byte-reader.js";
import { type Domain, parseDomain } from "./domain.js";
import { COMPRESSION, SAVE_MAGIC, SAVE_VERSION, type SaveCompression, saveHeader } from "./layout.js";
import { LIBVIRT_SAVE_RULES } from "./rules.js";
import { XmlError } from "./xml.js";

/** The envelope of a save file. */
export interface SaveEnvelope {
  readonly order: ByteOrder;
  /** Undefined: it is lost with a damaged header. */
  readonly version?: number;
  /** False: the file was not written to its end. Undefined: that is lost with a damaged header. */
  readonly finished?: boolean;
  /** Whether a restore starts the guest. Undefined: that is lost with a damaged header. */
  readonly wasRunning?: boolean;
  readonly compression: SaveCompression;
  /** Where the stream (compressed or not) begins in the file. */
  readonly streamOffset: number;
  readonly xml: string;
  readonly cookie?: string;
  readonly domain: Domain;
}

/** XML, cookie and room for more: libvirt writes some 64 KiB. */
export const LARGEST_DATA = 64 << 20;

/**
 * Reads header, XML and cookie; afterwards the reader is at the stream. What is wrong goes into `report`.
 * @throws FormatError when the stream after it can't be found.
 */
export async function readSave(reader: ByteReader, diagnostics: Diagnostics): Promise<SaveEnvelope> {
  const source = reader.name;
  if (!(await reader.need(saveHeader.size)))
    throw formatError(
      LIBVIRT_SAVE_RULES.truncated,
      source,
      { offset: reader.available },
      "the file ends inside its header",
    );
  const head = reader.take(saveHeader.size).slice();
  // the version is small: its bytes show the byte order of the host
  const order: ByteOrder = viewOf(head).getUint16(saveHeader.offsetOf("version")) === 0 ? "big" : "little";
  const header = saveHeader.decode(head, order);
  const at = (field: Parameters<typeof saveHeader.offsetOf>[0]): { offset: number } => ({
    offset: saveHeader.offsetOf(field),
  });
  if (header.version < 1 || header.version > SAVE_VERSION)
    throw formatError(LIBVIRT_SAVE_RULES.version, source, at("version"), `version ${header.version}`);
  const finished = header.magic === SAVE_MAGIC;
  if (!finished) diagnostics.report(LIBVIRT_SAVE_RULES.part, at("magic"), "the save was not finished");
  const compression = COMPRESSION[header.version === 1 ? 0 : header.compressed];
  if (compression === undefined)
    throw formatError(
      LIBVIRT_SAVE_RULES.compression,
      source,
      at("compressed"),
      `compression ${header.compressed}`,
    );
  if (header.wasRunning > 1)
    diagnostics.report(
      LIBVIRT_SAVE_RULES.wasRunning,
      at("wasRunning"),
      `the mark of a running guest is ${header.wasRunning}`,
    );
  if (header.unused.some((word) => word !== 0))
    diagnostics.report(LIBVIRT_SAVE_RULES.unused, at("unused"), "the unused part of the header is not zero");
  const { dataLength } = header;
  if (dataLength > LARGEST_DATA || !(await reader.need(dataLength)))
    throw formatError(
      LIBVIRT_SAVE_RULES.truncated,
      source,
      at("dataLength"),
      `${dataLength} bytes of XML are announced, the file has ${reader.available}`,
    );
  const data = reader.take(dataLength).slice();
  const cookieOffset = header.version === 1 ? 0 : header.cookieOffset;
  if (cookieOffset >= dataLength && cookieOffset > 0)
    diagnostics.report(
      LIBVIRT_SAVE_RULES.cookie,
      at("cookieOffset"),
      `the cookie's offset is ${cookieOffset}, the data have ${dataLength} bytes`,
    );
  const xmlEnd = data.indexOf(0) + 1;
  if (header.version > 1 && cookieOffset === 0 && xmlEnd > 0 && data[xmlEnd] === 0x3c)
    diagnostics.report(
      LIBVIRT_SAVE_RULES.cookie,
      at("cookieOffset"),
      "the cookie's offset is 0, and a text follows the XML",
    );
  const texts = { diagnostics, data };
  const xml = terminated(texts, 0, "XML");
  const cookie =
    cookieOffset > 0 && cookieOffset < dataLength ? terminated(texts, cookieOffset, "cookie") : undefined;
  return {
    order,
    version: header.version,
    finished,
    wasRunning: header.wasRunning !== 0,
    compression,
    streamOffset: saveHeader.size + dataLength,
    xml,
    ...(cookie === undefined ? {} : { cookie }),
    domain: domainOf(xml, diagnostics),
  };
}

function terminated(
  texts: { diagnostics: Diagnostics; data: Uint8Array },
  start: number,
  what: string,
): string {
  const end = texts.data.indexOf(0, start);
  if (end === -1)
    texts.diagnostics.report(
      LIBVIRT_SAVE_RULES.xml,
      { offset: saveHeader.size + start },
      `the ${what} is not terminated`,
    );
  return new TextDecoder().decode(texts.data.subarray(start, end === -1 ? undefined : end));
}

function domainOf(xml: string, diagnostics: Diagnostics): Domain {
  try {
    return parseDomain(xml);
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
    diagnostics.report(
      LIBVIRT_SAVE_RULES.xml,
      { offset: saveHeader.size + error.at },
      `the domain's XML: ${error.message}`,
    );
    return {};
  }
}
