import { randoms } from "../../../guest/damage-oracle.js";

/** Bytes that compress as a guest's memory does: pages of zeros, of words that come again, of noise. */
export function plainData(size: number): Buffer {
  const next = randoms(1);
  const data = Buffer.alloc(size);
  const words = Array.from({ length: 200 }, () => Math.floor(next() * 2 ** 32));
  for (let page = 0; page + 4096 <= size; page += 4096) {
    const kind = next();
    if (kind < 0.3) continue;
    for (let at = page; at < page + 4096; at += 4) {
      const value =
        kind < 0.9
          ? (words[Math.floor(next() ** 2 * 200)] ?? 0) + (kind < 0.6 ? 0 : at & 0xff)
          : next() * 2 ** 32;
      data.writeUInt32LE(Math.floor(value) >>> 0, at);
    }
  }
  return data;
}
