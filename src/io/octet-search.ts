/** Index of the first octet of a value at or behind `from`; -1 when there is none. */
export type OctetSearch = (bytes: Uint8Array, value: number, from: number) => number;

let search: OctetSearch = (bytes, value, from) => bytes.indexOf(value, from);

/** Puts a faster implementation in place, such as a platform's own. */
export function installOctetSearch(faster: OctetSearch): void {
  search = faster;
}

/** See OctetSearch. */
export function indexOfOctet(bytes: Uint8Array, value: number, from: number): number {
  return search(bytes, value, from);
}
