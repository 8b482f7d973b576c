import type { ByteOrder } from "../binary/layout.js";
import type { SpanPart } from "./memory-space.js";

/** How rows show their bytes. */
export type RowForm = "hex" | "u32" | "u64" | "code";

const ROW = 16;

const pad = (value: number | bigint, digits: number): string => value.toString(16).padStart(digits, "0");

/** Bytes as text: what isn't printable ASCII as a dot. */
export function dotted(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".";
  return text;
}

/** `0001 0203 …  text`, as xxd prints sixteen bytes; a byte that is missing (undefined) as `--`. */
function hexRow(bytes: readonly (number | undefined)[]): string {
  let cells = "";
  let text = "";
  for (let i = 0; i < ROW; i += 1) {
    const byte = bytes[i];
    const isInside = i < bytes.length;
    cells += !isInside ? "  " : byte === undefined ? "--" : pad(byte, 2);
    if (i % 2 === 1) cells += " ";
    if (isInside)
      text += byte === undefined ? " " : byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".";
  }
  return `${cells} ${text}`.trimEnd();
}

/** Numbers of `size` bytes, in the guest's byte order; one that is not all there as dashes. */
function numberRow(bytes: readonly (number | undefined)[], size: 4 | 8, order: ByteOrder): string {
  const cells: string[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.slice(at, at + size);
    const digits = part.map((byte) => (byte === undefined ? "--" : pad(byte, 2)));
    if (part.length < size || part.includes(undefined)) cells.push("-".repeat(2 * size));
    else cells.push((order === "little" ? digits.toReversed() : digits).join(""));
  }
  return cells.join(" ");
}

/** `48 89 e5 …` */
function codeRow(bytes: readonly (number | undefined)[]): string {
  return bytes.map((byte) => (byte === undefined ? "--" : pad(byte, 2))).join(" ");
}

function rowText(bytes: readonly (number | undefined)[], form: RowForm, order: ByteOrder): string {
  if (form === "u32") return numberRow(bytes, 4, order);
  if (form === "u64") return numberRow(bytes, 8, order);
  return form === "code" ? codeRow(bytes) : hexRow(bytes);
}

/**
 * Prints a span of memory in rows of sixteen bytes, as xxd does, `address: bytes`. Missing bytes are dashes; rows that
 * are missing as a whole are one line that says why.
 */
export async function* rowsOf(
  parts: AsyncIterable<SpanPart>,
  form: RowForm,
  order: ByteOrder,
): AsyncGenerator<string, void, undefined> {
  let row: (number | undefined)[] = [];
  let start = 0n;
  const digits = (address: bigint): number => (address > 0xffff_ffffn ? 16 : 8);
  const line = (): string => `${pad(start, digits(start))}: ${rowText(row, form, order)}`;
  for await (const { address, length, bytes, why } of parts) {
    if (bytes === undefined) {
      const fills = row.length === 0 ? 0 : Math.min(length, ROW - row.length);
      for (let i = 0; i < fills; i += 1) row.push(undefined);
      if (row.length === ROW) {
        yield line();
        row = [];
      }
      if (length > fills && row.length === 0) {
        const from = address + BigInt(fills);
        const rest = length - fills;
        yield `${pad(from, digits(from))}: ${rest} byte${rest === 1 ? "" : "s"} ${why ?? "absent"}`;
      }
      continue;
    }
    for (let at = 0; at < length; at += 1) {
      if (row.length === 0) start = address + BigInt(at);
      row.push(bytes[at]);
      if (row.length < ROW) continue;
      yield line();
      row = [];
    }
  }
  if (row.length > 0) yield line();
}
