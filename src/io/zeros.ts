/** Whether 32-bit words [from, to) are all zero. */
export function areZero(words: Int32Array, from: number, to: number): boolean {
  let i = from;
  for (const whole = to - ((to - from) & 7); i < whole; i += 8) {
    const any =
      (words[i] ?? 0) |
      (words[i + 1] ?? 0) |
      (words[i + 2] ?? 0) |
      (words[i + 3] ?? 0) |
      (words[i + 4] ?? 0) |
      (words[i + 5] ?? 0) |
      (words[i + 6] ?? 0) |
      (words[i + 7] ?? 0);
    if (any !== 0) return false;
  }
  for (; i < to; i += 1) if (words[i] !== 0) return false;
  return true;
}

/** The whole 32-bit words of `bytes`; none when it doesn't start at one of its buffer. */
export function wordsOf(bytes: Uint8Array): Int32Array {
  const whole = bytes.byteOffset % 4 === 0 ? bytes.length >> 2 : 0;
  return new Int32Array(bytes.buffer, whole === 0 ? 0 : bytes.byteOffset, whole);
}

/** Whether bytes [from, to), `from` a multiple of 4, are all zero; `words` are those of `bytes`. */
export function isZero(bytes: Uint8Array, words: Int32Array, from = 0, to: number = bytes.length): boolean {
  const last = Math.min(to >> 2, words.length);
  const first = Math.min(from >> 2, last);
  if (!areZero(words, first, last)) return false;
  for (let at = Math.max(from, last * 4); at < to; at += 1) if (bytes[at] !== 0) return false;
  return true;
}
