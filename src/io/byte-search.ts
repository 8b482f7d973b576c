/** Index of the first place of a pattern (of one byte or more) at or after `from`; -1 when there is none. */
export type ByteSearch = (bytes: Uint8Array, pattern: Uint8Array, from: number) => number;

let search: ByteSearch = (bytes, pattern, from) => {
  const first = pattern[0] ?? 0;
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    let i = 1;
    while (i < pattern.length && bytes[at + i] === pattern[i]) i += 1;
    if (i === pattern.length) return at;
  }
  return -1;
};

/** Puts a faster implementation in place, such as a platform's own. */
export function installByteSearch(faster: ByteSearch): void {
  search = faster;
}

/** See ByteSearch. */
export function indexOfBytes(bytes: Uint8Array, pattern: Uint8Array, from: number): number {
  return search(bytes, pattern, from);
}

let text = (bytes: Uint8Array): string => {
  let out = "";
  for (let i = 0; i < bytes.length; i += 8192) out += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return out;
};

/** Puts a faster implementation of `byteText` in place. */
export function installByteText(faster: (bytes: Uint8Array) => string): void {
  text = faster;
}

/** Bytes as a text of as many characters, U+0000 to U+00FF: what regular expressions search. */
export function byteText(bytes: Uint8Array): string {
  return text(bytes);
}

let equal = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Puts a faster implementation of `equalBytes` in place. */
export function installEqualBytes(faster: (a: Uint8Array, b: Uint8Array) => boolean): void {
  equal = faster;
}

/** Whether two runs of bytes are alike. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return equal(a, b);
}
