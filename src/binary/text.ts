/** A text without the NULs at its end. Its time is linear, which that of a regular expression for it isn't. */
export function trimNuls(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === 0) end -= 1;
  return text.slice(0, end);
}

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Bytes in hexadecimal, two digits each, with `separator` between them. */
export function hexText(bytes: Iterable<number>, separator = ""): string {
  return Array.from(bytes, (byte) => HEX[byte] ?? "").join(separator);
}

/** A character written out: `\x1b`, and `\u{202e}` from 0x100 on. */
export function writtenOut(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x100 ? `\\x${HEX[code] ?? ""}` : `\\u{${code.toString(16)}}`;
}
