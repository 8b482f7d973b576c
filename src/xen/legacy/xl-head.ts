import { viewOf } from "../../binary/layout.js";
import type { HeadPart } from "../../guest/head-parts.js";
import { decodeConfig, isJson } from "../xl/config.js";
import { XL_BYTE_ORDER, XL_FLAGS, XL_KNOWN_FLAGS, XL_MAGIC, xlHeader, xlOptionalData } from "../xl/layout.js";

/** A few bytes of the magic that are damaged are no other magic. */
const MOST_MAGIC_DAMAGE = 16;
/** A configuration is text of a few KiB. */
const LONGEST_CONFIG = 1 << 20;
/** Bytes of text where a configuration begins that no stream begins with. */
const SHOWN_TEXT = 48;
const CONFIG_AT = xlHeader.size + xlOptionalData.size;

/** The header of an xl save file that may be damaged. */
export interface XlHead {
  /** Header and configuration as they were: made anew where only the configuration is whole; undefined where that isn't. */
  readonly header: Uint8Array | undefined;
  readonly config: string | undefined;
  readonly parts: readonly HeadPart[];
}

/** Whether the first bytes of an input are an xl header: by its magic, its byte order mark or its configuration. */
export function isXlHead(bytes: Uint8Array): boolean {
  if (bytes.length < CONFIG_AT) return false;
  const text = bytes.subarray(CONFIG_AT, CONFIG_AT + SHOWN_TEXT);
  return (
    XL_MAGIC.filter((byte, i) => byte !== bytes[i]).length <= MOST_MAGIC_DAMAGE ||
    viewOf(bytes).getUint32(xlHeader.offsetOf("byteorder"), true) === XL_BYTE_ORDER ||
    (text.length === SHOWN_TEXT && TEXT.test(decodeConfig(text)))
  );
}

const TEXT = /^[\t\n\r\x20-\x7e]+$/;

/** Where an xl header says that the stream begins. */
export function statedBase(bytes: Uint8Array): number {
  return xlHeader.size + xlHeader.read(viewOf(bytes), 0, "little").optionalDataLength;
}

/** Where a stream may begin after the text of a configuration, which a NUL may end. */
export function basesAfterConfig(bytes: Uint8Array): number[] {
  let end = CONFIG_AT;
  while (end < bytes.length && isText(bytes[end] ?? 0)) end += 1;
  const { configLength } = xlOptionalData.read(viewOf(bytes), xlHeader.size, "little");
  return [CONFIG_AT + configLength, end + (bytes[end] === 0 ? 1 : 0), end];
}

const isText = (byte: number): boolean =>
  byte === 0x09 || byte === 0x0a || byte === 0x0d || (byte >= 0x20 && byte < 0x7f);

/** The header of an xl save file in front of a stream that begins at `base`. */
export function xlHeadBefore(bytes: Uint8Array, base: number): XlHead {
  const { magic, byteorder, mandatoryFlags, optionalFlags, optionalDataLength } = xlHeader.read(
    viewOf(bytes),
    0,
    "little",
  );
  const { configLength } = xlOptionalData.read(viewOf(bytes), xlHeader.size, "little");
  const room = base - CONFIG_AT;
  const isLength = configLength <= room && optionalDataLength === base - xlHeader.size;
  const isHeader =
    XL_MAGIC.every((byte, i) => byte === magic[i]) &&
    byteorder === XL_BYTE_ORDER &&
    (mandatoryFlags & ~XL_KNOWN_FLAGS) === 0 &&
    (mandatoryFlags & XL_FLAGS.streamV2) === 0 &&
    optionalFlags === 0 &&
    isLength;
  const end = isLength ? CONFIG_AT + configLength : base;
  const text = decodeConfig(bytes.subarray(CONFIG_AT, Math.min(end, CONFIG_AT + LONGEST_CONFIG)));
  const isJsonText = isJson(text);
  const isConfig =
    end - CONFIG_AT <= LONGEST_CONFIG && (isJsonText || TEXT.test(text) || (text === "" && room <= 1));
  const parts = [
    { start: 0, end: Math.min(CONFIG_AT, base), isWhole: isHeader },
    { start: CONFIG_AT, end: base, isWhole: isConfig },
  ];
  if (!isConfig) return { header: undefined, config: undefined, parts };
  if (isHeader) return { header: bytes.slice(0, base), config: text, parts };
  const header = new Uint8Array(Math.max(base, xlHeader.size));
  header.set(
    xlHeader.encode(
      {
        magic: XL_MAGIC,
        byteorder: XL_BYTE_ORDER,
        mandatoryFlags: isJsonText ? XL_FLAGS.json : 0,
        optionalFlags: 0,
        optionalDataLength: header.length - xlHeader.size,
      },
      "little",
    ),
  );
  if (room >= 0) {
    header.set(xlOptionalData.encode({ configLength: room }, "little"), xlHeader.size);
    header.set(bytes.subarray(CONFIG_AT, base), CONFIG_AT);
  }
  return { header, config: text, parts };
}
