import { latin1 } from "../../binary/layout.js";
import type { HeaderChunk, PvInfoChunk, XlHeaderChunk } from "./chunks.js";
import type { Cursor } from "./cursor.js";
import { DETECTION_SIZE, detectWidthAndGuest } from "./detect.js";
import {
  EXTENDED_BLOCK,
  type GuestKind,
  P2M_SIZE_LIMIT,
  PAGE,
  type ToolstackWidth,
  VCPU_CONTEXT,
  XSAVE_HEAD,
  XSAVE_LIMIT,
} from "./layout.js";
import { LEGACY_RULES } from "./rules.js";
import { configInHeader, isJson } from "../xl/config.js";
import { XL_BYTE_ORDER, XL_FLAGS, XL_KNOWN_FLAGS, XL_MAGIC, xlHeader } from "../xl/layout.js";

/** What a caller says of a stream. */
export interface Claims {
  readonly width?: ToolstackWidth;
  readonly guest?: GuestKind;
  /** An xl header is at the start. */
  readonly xlHeader?: boolean;
  /** Trust the stream for its width, with a warning. */
  readonly widthIsGuess?: boolean;
}

/** A configuration is text of a few KiB. */
const OPTIONAL_DATA_LIMIT = 16 << 20;

/** Reads the header of an xl save file where one is at the start. */
export async function readXlHeader(cursor: Cursor): Promise<XlHeaderChunk | undefined> {
  const offset = cursor.position;
  const { reader } = cursor;
  // eight bytes are enough: no legacy stream's p2m_size begins with this text
  await cursor.need(8, "header");
  if (!reader.peek(8).every((byte, i) => byte === XL_MAGIC[i])) return undefined;
  cursor.chunk = { layer: "legacy", index: 0, type: "XL_HEADER" };
  await cursor.need(xlHeader.size, "xl header");
  if (!reader.peek(XL_MAGIC.length).every((byte, i) => byte === XL_MAGIC[i])) {
    cursor.fail(LEGACY_RULES.xlHeader, offset, "the magic text is damaged");
  }
  const header = xlHeader.read(reader.view, reader.at, "little");
  if (header.byteorder !== XL_BYTE_ORDER) {
    cursor.fail(
      LEGACY_RULES.xlHeader,
      offset + 32,
      `byte order mark 0x${header.byteorder.toString(16)}, not 0x1020304`,
    );
  }
  const flags = header.mandatoryFlags;
  if ((flags & XL_FLAGS.streamV2) !== 0) {
    cursor.fail(
      LEGACY_RULES.xlHeader,
      offset + 36,
      "the header says that what follows is a stream of version 2 or 3",
    );
  }
  if ((flags & ~XL_KNOWN_FLAGS) !== 0) {
    cursor.fail(LEGACY_RULES.xlHeader, offset + 36, `unknown mandatory flags 0x${flags.toString(16)}`);
  }
  const length = header.optionalDataLength;
  if (length > OPTIONAL_DATA_LIMIT) {
    cursor.fail(
      LEGACY_RULES.xlHeader,
      offset + 44,
      `${length} bytes of optional data, at most ${OPTIONAL_DATA_LIMIT}`,
    );
  }
  const bytes = await cursor.bytes(xlHeader.size + length, "xl header");
  const jsonConfig = (flags & XL_FLAGS.json) !== 0;
  const problem = configProblem(bytes, jsonConfig);
  if (problem !== undefined) cursor.report(LEGACY_RULES.xlConfig, offset + xlHeader.size, problem);
  return { kind: "xl-header", offset, index: 0, bytes, jsonConfig };
}

function configProblem(bytes: Uint8Array, json: boolean): string | undefined {
  if (bytes.length === xlHeader.size) return undefined;
  const config = configInHeader(bytes);
  if (config === undefined) return "the configuration is longer than the optional data";
  return json && config !== "" && !isJson(config) ? "the configuration can't be parsed as JSON" : undefined;
}

/** Reads p2m_size (and for PV the signature after it), finding width and guest. */
export async function readHeader(cursor: Cursor, claims: Claims, index: number): Promise<HeaderChunk> {
  const offset = cursor.position;
  cursor.chunk = { layer: "legacy", index, type: "HEADER" };
  await cursor.need(DETECTION_SIZE, "header");
  const { view, at } = cursor.reader;
  refuseNewFormat(cursor, offset);
  const { width, guest } = detectWidthAndGuest(view, at);
  const p2mSize = view.getUint32(at, true);
  if (p2mSize === 0 || p2mSize > P2M_SIZE_LIMIT) {
    cursor.fail(
      LEGACY_RULES.p2mSize,
      offset,
      `p2m_size 0x${p2mSize.toString(16)} is not within 1 and 0xfffffff`,
    );
  }
  if (claims.guest !== undefined && claims.guest !== guest) {
    cursor.fail(
      LEGACY_RULES.contradiction,
      offset,
      `said to be of a ${claims.guest} guest, but this is a ${guest} stream`,
    );
  }
  if (claims.width !== undefined && claims.width !== width) {
    const seen = `said to be of a ${claims.width}-bit toolstack, but a ${width}-bit one wrote this stream`;
    if (claims.widthIsGuess !== true) cursor.fail(LEGACY_RULES.contradiction, offset, seen);
    cursor.report(LEGACY_RULES.widthGuess, offset, seen);
  }
  cursor.width = width;
  cursor.reader.take(cursor.ulongSize * (guest === "pv" ? 2 : 1));
  return { kind: "header", offset, index, width, guest, p2mSize };
}

function refuseNewFormat(cursor: Cursor, offset: number): void {
  const head = cursor.reader.peek(8);
  if (latin1(head) === "LibxlFmt") {
    cursor.fail(
      LEGACY_RULES.notLegacy,
      offset,
      "this is a libxl stream of version 2: it needs no conversion",
    );
  }
  if (head.every((byte) => byte === 0xff)) {
    cursor.fail(
      LEGACY_RULES.notLegacy,
      offset,
      "this is a libxc stream of version 2 or 3: it needs no conversion",
    );
  }
}

/** An extended info block is a few KiB; receivers skip what exceeds a known one. */
const EXTENDED_INFO_LIMIT = 1 << 20;

/** Reads the extended info and the p2m frame list after the header of a PV stream. */
export async function readPvInfo(cursor: Cursor, p2mSize: number, index: number): Promise<PvInfoChunk> {
  const offset = cursor.position;
  cursor.chunk = { layer: "legacy", index, type: "PV_INFO" };
  const total = await cursor.u32("extended info");
  if (total > EXTENDED_INFO_LIMIT)
    cursor.fail(LEGACY_RULES.extendedInfo, offset, `${total} bytes of extended info`);
  let left = total;
  let guestWidth: 4 | 8 | undefined;
  let extended = false;
  let xsaveSize: number | undefined;
  let unknownBlock: string | undefined;
  while (left > 0) {
    const at = cursor.position;
    if (left < EXTENDED_BLOCK.size) {
      cursor.fail(
        LEGACY_RULES.extendedInfo,
        at,
        `the blocks do not add up to ${total} bytes: ${left} are left`,
      );
    }
    await cursor.need(EXTENDED_BLOCK.size, "extended info");
    const block = EXTENDED_BLOCK.read(cursor.reader.view, cursor.reader.at, "little");
    cursor.reader.take(EXTENDED_BLOCK.size);
    left -= EXTENDED_BLOCK.size;
    if (block.size > left) {
      cursor.fail(
        LEGACY_RULES.extendedInfo,
        at,
        `block '${block.id}' of ${block.size} bytes where ${left} are left`,
      );
    }
    if (block.id === "vcpu") {
      if (block.size === VCPU_CONTEXT[8]) guestWidth = 8;
      else if (block.size === VCPU_CONTEXT[4]) guestWidth = 4;
      else
        cursor.fail(
          LEGACY_RULES.extendedInfo,
          at,
          `a vCPU context of ${block.size} bytes is of no known guest`,
        );
    } else if (block.id === "extv") {
      extended = true;
    } else if (block.id === "xcnt") {
      xsaveSize = (await readXcnt(cursor, block.size)) - XSAVE_HEAD;
      left -= 4;
      continue;
    } else {
      unknownBlock = block.id.replace(/[^ -~]/g, "?");
      cursor.report(LEGACY_RULES.extendedBlock, at, `unknown block '${unknownBlock}'`);
    }
    await cursor.skip(block.size, "extended info");
    left -= block.size;
  }
  if (guestWidth === undefined) {
    return cursor.fail(LEGACY_RULES.extendedInfo, offset, "no vcpu block: the guest's word size is unknown");
  }
  const p2mFrames = await readFrames(cursor, p2mSize, guestWidth);
  return {
    kind: "pv-info",
    offset,
    index,
    guestWidth,
    levels: guestWidth === 8 ? 4 : 3,
    contextSize: VCPU_CONTEXT[guestWidth],
    extended,
    xsaveSize,
    unknownBlock,
    p2mFrames,
  };
}

async function readXcnt(cursor: Cursor, size: number): Promise<number> {
  if (size !== 4)
    cursor.fail(LEGACY_RULES.extendedInfo, cursor.position, `xcnt of ${size} bytes instead of 4`);
  const xcnt = await cursor.u32("xcnt block");
  if (xcnt < XSAVE_HEAD || xcnt > XSAVE_LIMIT) {
    cursor.fail(
      LEGACY_RULES.extendedInfo,
      cursor.position - 4,
      `xcnt ${xcnt} is not within ${XSAVE_HEAD} and ${XSAVE_LIMIT}`,
    );
  }
  return xcnt;
}

async function readFrames(cursor: Cursor, p2mSize: number, guestWidth: 4 | 8): Promise<Uint32Array> {
  const offset = cursor.position;
  const count = Math.ceil(p2mSize / (PAGE / guestWidth));
  const parts: Uint32Array[] = [];
  await cursor.ulongs(count, "p2m frame list", (words) => parts.push(words.slice()));
  const frames = new Uint32Array(count);
  let at = 0;
  for (const part of parts) {
    frames.set(part, at);
    at += part.length;
  }
  const wrong = frames.findIndex((pfn) => pfn >= p2mSize);
  if (wrong >= 0) {
    const pfn = frames[wrong] ?? 0;
    cursor.report(
      LEGACY_RULES.p2mFrame,
      offset + wrong * cursor.ulongSize,
      `p2m frame ${wrong} is pfn 0x${pfn.toString(16)}, beyond p2m_size 0x${p2mSize.toString(16)}`,
    );
  }
  return frames;
}
