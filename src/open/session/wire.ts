/**
 * The protocol's data as JSON text, for a server: bigints and typed arrays become objects with one member whose name
 * begins with `$`. No document here has members of such names.
 */

const ARRAYS = { Uint8Array, Uint32Array, Float64Array } as const;
type ArrayName = keyof typeof ARRAYS;

/** Bytes turned into characters at a time. */
const STEP = 0x2000;

function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += STEP)
    binary += String.fromCharCode(...bytes.subarray(at, at + STEP));
  return btoa(binary);
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function replacer(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return { $bigint: value.toString() };
  if (ArrayBuffer.isView(value)) {
    const name = value.constructor.name;
    // a view of Node's own kind is bytes as well
    const kind = name in ARRAYS ? name : "Uint8Array";
    return { $array: kind, data: toBase64(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) };
  }
  return value;
}

function reviver(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const { $bigint, $array, data } = value as { $bigint?: unknown; $array?: unknown; data?: unknown };
  if (typeof $bigint === "string") return BigInt($bigint);
  if (typeof $array !== "string" || typeof data !== "string" || !Object.hasOwn(ARRAYS, $array)) return value;
  const bytes = fromBase64(data);
  const kind = ARRAYS[$array as ArrayName];
  const size = bytes.length - (bytes.length % kind.BYTES_PER_ELEMENT);
  return new kind(bytes.buffer as ArrayBuffer, 0, size / kind.BYTES_PER_ELEMENT);
}

/** @throws SyntaxError for text that is no JSON, or a number that is none */
export const decodeWire = (text: string): unknown => JSON.parse(text, reviver);

export const encodeWire = (value: unknown): string => JSON.stringify(value, replacer);
