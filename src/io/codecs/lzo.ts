import { CODEC_RULES } from "../rules.js";
import { FormatError } from "../../findings/errors.js";
import { findMatches } from "./matches.js";

/**
 * LZO1X, after the description of its bit stream in the Linux kernel's documentation (lzo.rst).
 *
 * An instruction is one byte, perhaps with a run of length bytes and a distance; what bytes 0–15 mean depends
 * on how many literals the instruction before it copied (`state`; 4 stands for four or more).
 */

const MAX_DISTANCE = 0xbfff;
const M2_DISTANCE = 2048;
const M3_DISTANCE = 16384;

const damaged = (message: string): FormatError => new FormatError(CODEC_RULES.lzo, `LZO data: ${message}`);

/**
 * Unpacks one LZO1X block of known length.
 * @throws FormatError `codec/lzo` when it is damaged or of another length.
 */
export function lzoDecompress(input: Uint8Array, outputLength: number): Uint8Array {
  const output = new Uint8Array(outputLength);
  let from = 0;
  let to = 0;
  let state = 0;

  const next = (): number => {
    const byte = input[from];
    if (byte === undefined) throw damaged("it ends within an instruction");
    from += 1;
    return byte;
  };
  /** A length that goes on in bytes: each zero counts 255, the first other ends it. */
  const longer = (base: number): number => {
    let length = base;
    for (let byte = next(); ; byte = next()) {
      if (byte !== 0) return length + byte;
      length += 255;
      if (length > outputLength) throw damaged("a length is beyond the block");
    }
  };
  const literals = (count: number): void => {
    if (from + count > input.length) throw damaged("it ends within literals");
    if (to + count > outputLength) throw damaged("it unpacks to more than its block");
    if (count < 32) {
      for (let i = 0; i < count; i += 1) output[to + i] = input[from + i] ?? 0;
    } else output.set(input.subarray(from, from + count), to);
    from += count;
    to += count;
  };
  const copy = (length: number, distance: number): void => {
    if (distance > to) throw damaged("a copy reaches back before the start");
    if (to + length > outputLength) throw damaged("it unpacks to more than its block");
    for (const end = to + length; to < end; to += 1) output[to] = output[to - distance] ?? 0;
  };

  const first = input[0] ?? 0;
  if (first > 17) {
    from = 1;
    literals(first - 17);
    state = Math.min(first - 17, 4);
  }
  for (;;) {
    const op = next();
    let low = op;
    if (op >= 64) {
      const length = op >= 128 ? 5 + ((op >> 5) & 3) : 3 + ((op >> 5) & 1);
      copy(length, (next() << 3) + ((op >> 2) & 7) + 1);
    } else if (op >= 32) {
      const length = (op & 31) === 0 ? longer(33) : (op & 31) + 2;
      low = next();
      copy(length, (low >> 2) + (next() << 6) + 1);
    } else if (op >= 16) {
      const length = (op & 7) === 0 ? longer(9) : (op & 7) + 2;
      low = next();
      const distance = M3_DISTANCE + ((op & 8) << 11) + (low >> 2) + (next() << 6);
      if (distance === M3_DISTANCE) break;
      copy(length, distance);
    } else if (state === 0) {
      literals(op === 0 ? longer(18) : op + 3);
      state = 4;
      continue;
    } else if (state === 4) {
      copy(3, (next() << 2) + (op >> 2) + M2_DISTANCE + 1);
    } else {
      copy(2, (next() << 2) + (op >> 2) + 1);
    }
    state = low & 3;
    literals(state);
  }
  if (from !== input.length) throw damaged("bytes follow its end");
  if (to !== outputLength) throw damaged(`it unpacks to ${to} bytes, not ${outputLength}`);
  return output;
}

/** Packs one block as LZO1X. */
export function lzoCompress(input: Uint8Array): Uint8Array {
  const output = new Uint8Array(input.length + (input.length >> 4) + 67);
  let to = 0;
  /** Where the instruction before keeps the count of up to three literals that follow it. */
  let stateAt = -1;

  const longLength = (rest: number): void => {
    let left = rest;
    for (; left > 255; left -= 255) output[to++] = 0;
    output[to++] = left;
  };
  findMatches(input, MAX_DISTANCE, {
    literals(start, end) {
      const count = end - start;
      if (to === 0 && count <= 238) output[to++] = 17 + count;
      else if (count <= 3) output[stateAt] = (output[stateAt] ?? 0) | count;
      else if (count <= 18) output[to++] = count - 3;
      else {
        output[to++] = 0;
        longLength(count - 18);
      }
      output.set(input.subarray(start, end), to);
      to += count;
    },
    copy(length, distance) {
      if (length <= 8 && distance <= M2_DISTANCE) {
        stateAt = to;
        output[to++] = ((length - 1) << 5) | (((distance - 1) & 7) << 2);
        output[to++] = (distance - 1) >> 3;
        return;
      }
      const near = distance <= M3_DISTANCE;
      const rest = near ? distance - 1 : distance - M3_DISTANCE;
      const short = near ? 33 : 9;
      const op = near ? 32 : 16 | ((rest >> 11) & 8);
      if (length <= short) output[to++] = op | (length - 2);
      else {
        output[to++] = op;
        longLength(length - short);
      }
      stateAt = to;
      output[to++] = (rest << 2) & 0xff;
      output[to++] = (rest >> 6) & 0xff;
    },
  });
  output[to++] = 17;
  output[to++] = 0;
  output[to++] = 0;
  return output.slice(0, to);
}
