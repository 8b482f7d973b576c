/** A reading of selected bytes. */
export interface Reading {
  readonly name: string;
  readonly value: string;
}

const GROUPED = { useGrouping: true } as const;

/** What bytes are as numbers of each size that fits. */
export function decodeNumbers(bytes: Uint8Array, little: boolean): readonly Reading[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const readings: Reading[] = [];
  const add = (size: number, name: string, read: () => number | bigint): void => {
    if (bytes.length < size) return;
    const value = read();
    readings.push({ name, value: value.toLocaleString("en-US", GROUPED) });
  };
  add(1, "u8", () => view.getUint8(0));
  add(1, "i8", () => view.getInt8(0));
  add(2, "u16", () => view.getUint16(0, little));
  add(2, "i16", () => view.getInt16(0, little));
  add(4, "u32", () => view.getUint32(0, little));
  add(4, "i32", () => view.getInt32(0, little));
  add(8, "u64", () => view.getBigUint64(0, little));
  add(8, "i64", () => view.getBigInt64(0, little));
  if (bytes.length >= 4) readings.push({ name: "f32", value: printFloat(view.getFloat32(0, little)) });
  if (bytes.length >= 8) readings.push({ name: "f64", value: printFloat(view.getFloat64(0, little)) });
  return readings;
}

const printFloat = (value: number): string =>
  Number.isFinite(value) && value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) > 1e12)
    ? value.toExponential(6)
    : String(Number(value.toPrecision(9)));

/** A word as an address: 8 bytes, or 4 where there are no more. */
export function pointerAt(bytes: Uint8Array, little: boolean): bigint | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length >= 8) return view.getBigUint64(0, little);
  return bytes.length >= 4 ? BigInt(view.getUint32(0, little)) : undefined;
}

/** Bytes as characters: UTF-8, up to the first NUL; what prints nothing is a middle dot. */
export function decodeText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const part = bytes.subarray(0, end === -1 ? bytes.length : end);
  return new TextDecoder()
    .decode(part)
    .replaceAll(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g, "·");
}

export const decodeBits = (bytes: Uint8Array): string =>
  Array.from(bytes.subarray(0, 4), (byte) => byte.toString(2).padStart(8, "0")).join(" ");

/** What is searched for: bytes where the text is pairs of hexadecimal digits with spaces (or after 0x), else its characters. */
export function parsePattern(text: string): Uint8Array | undefined {
  const pairs =
    /^0x([0-9a-f]+)$/i.exec(text.trim())?.[1] ??
    (/^[0-9a-f]{2}(\s+[0-9a-f]{2})+$/i.test(text.trim()) ? text.replaceAll(/\s/g, "") : undefined);
  if (pairs === undefined) return new TextEncoder().encode(text);
  if (pairs.length % 2 === 1) return undefined;
  return Uint8Array.from(pairs.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
