/** Index of the first place of a pattern (of one byte or more) at or behind `from`; -1 when there is none. */
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
