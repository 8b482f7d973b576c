import { CODEC_RULES } from "../rules.js";
import { FormatError } from "../../findings/errors.js";
import { findMatches } from "./matches.js";

/** Snappy's raw format, after its public format description (format_description.txt). */

const damaged = (message: string): FormatError =>
  new FormatError(CODEC_RULES.snappy, `Snappy data: ${message}`);

/**
 * Unpacks one Snappy block of known length.
 * @throws FormatError `codec/snappy` when it is damaged or of another length.
 */
export function snappyDecompress(input: Uint8Array, outputLength: number): Uint8Array {
  let from = 0;
  const next = (): number => {
    const byte = input[from];
    if (byte === undefined) throw damaged("it ends within an element");
    from += 1;
    return byte;
  };
  let announced = 0;
  for (let scale = 1; ; scale *= 128) {
    const byte = next();
    announced += (byte & 127) * scale;
    if (byte < 128) break;
    if (scale >= 2 ** 28) throw damaged("its length is no 32-bit number");
  }
  if (announced !== outputLength) throw damaged(`it unpacks to ${announced} bytes, not ${outputLength}`);
  const output = new Uint8Array(outputLength);
  let to = 0;
  while (from < input.length) {
    const tag = next();
    const kind = tag & 3;
    if (kind === 0) {
      let count = (tag >> 2) + 1;
      if (count > 60) {
        const bytes = count - 60;
        count = 1;
        for (let i = 0, scale = 1; i < bytes; i += 1, scale *= 256) count += next() * scale;
      }
      if (from + count > input.length) throw damaged("it ends within literals");
      if (to + count > outputLength) throw damaged("it unpacks to more than its block");
      output.set(input.subarray(from, from + count), to);
      from += count;
      to += count;
      continue;
    }
    const length = kind === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    let distance = next();
    if (kind === 1) distance += (tag >> 5) * 256;
    else distance += next() * 256;
    if (kind === 3) distance += next() * 0x1_0000 + next() * 0x100_0000;
    if (distance === 0 || distance > to) throw damaged("a copy reaches back before the start");
    if (to + length > outputLength) throw damaged("it unpacks to more than its block");
    for (const end = to + length; to < end; to += 1) output[to] = output[to - distance] ?? 0;
  }
  if (to !== outputLength) throw damaged(`it unpacks to ${to} bytes, not ${outputLength}`);
  return output;
}

/** Packs one block as Snappy. */
export function snappyCompress(input: Uint8Array): Uint8Array {
  const output = new Uint8Array(32 + input.length + Math.ceil(input.length / 6));
  let to = 0;
  let left = input.length;
  for (; left >= 128; left = Math.floor(left / 128)) output[to++] = (left & 127) | 128;
  output[to++] = left;
  findMatches(input, 0xffff, {
    literals(start, end) {
      const rest = end - start - 1;
      if (rest < 60) output[to++] = rest << 2;
      else {
        const bytes = rest < 0x100 ? 1 : rest < 0x1_0000 ? 2 : rest < 0x100_0000 ? 3 : 4;
        output[to++] = (59 + bytes) << 2;
        for (let i = 0; i < bytes; i += 1) output[to++] = (rest >>> (8 * i)) & 0xff;
      }
      output.set(input.subarray(start, end), to);
      to += end - start;
    },
    copy(length, distance) {
      let rest = length;
      while (rest > 0) {
        // never leaves a piece of less than four bytes, the least that the short form takes
        const piece = rest > 64 ? (rest < 68 ? 60 : 64) : rest;
        if (piece >= 4 && piece <= 11 && distance < 2048) {
          output[to++] = 1 | ((piece - 4) << 2) | ((distance >> 8) << 5);
          output[to++] = distance & 0xff;
        } else {
          output[to++] = 2 | ((piece - 1) << 2);
          output[to++] = distance & 0xff;
          output[to++] = distance >> 8;
        }
        rest -= piece;
      }
    },
  });
  return output.slice(0, to);
}
