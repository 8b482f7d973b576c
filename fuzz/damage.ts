import type { Random } from "./random.js";

/** Kinds of damage: bytes are others, or fewer, or more. */
const KINDS = ["noise", "flip", "zeros", "ones", "other bytes", "missing", "inserted"] as const;
export type DamageKind = (typeof KINDS)[number];

/** One damage in an input. */
export interface Damage {
  readonly kind: DamageKind;
  readonly bytes: Uint8Array;
  /** Bytes of the undamaged input that are others or missing; where bytes were inserted, none from `start` on. */
  readonly start: number;
  readonly end: number;
  /** How many bytes it is of. */
  readonly size: number;
  /** How it is made again. */
  readonly where: string;
}

/** Damages `size` bytes of an input from `start` on, in a way that `random` decides. */
export function damaged(input: Uint8Array, start: number, size: number, random: Random): Damage {
  const kind = random.pick(KINDS) ?? "noise";
  const end = kind === "flip" ? start + 1 : start + size;
  const from = random.below(input.length - size);
  const between: Record<DamageKind, () => Uint8Array> = {
    noise: () => noise(size, random),
    flip: () => Uint8Array.of((input[start] ?? 0) ^ (1 << random.below(8))),
    zeros: () => new Uint8Array(size),
    ones: () => new Uint8Array(size).fill(0xff),
    "other bytes": () => input.subarray(from, from + size),
    missing: () => new Uint8Array(0),
    inserted: () => noise(size, random),
  };
  const after = kind === "inserted" ? start : end;
  const bytes = Buffer.concat([input.subarray(0, start), between[kind](), input.subarray(after)]);
  const place = `0x${start.toString(16)} to 0x${end.toString(16)}`;
  const source = kind === "other bytes" ? ` (those from 0x${from.toString(16)})` : "";
  return {
    kind,
    bytes,
    start,
    end: after,
    size: kind === "flip" ? 1 : size,
    where: `${kind}${source} from ${place}`,
  };
}

function noise(size: number, random: Random): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 1) bytes[at] = random.next();
  return bytes;
}
