import type { FieldPlace } from "./fields.js";
import type { Random } from "./random.js";

/** An input to start from. */
export interface Seed {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Known places of lengths, counts, offsets and other fields. */
  readonly fields: readonly FieldPlace[];
}

/** Values at which readers break: none, one, the widest of each size, just beyond what numbers hold exactly. */
const EDGES = [0n, 1n, 7n, 0x7fn, 0xffn, 0xfffn, 0x1000n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn];
const WIDE = [1n << 32n, 1n << 40n, 1n << 47n, 1n << 52n, 1n << 53n, 1n << 63n, (1n << 64n) - 1n];

const LARGEST = 1 << 20;

/** A changed copy of one of `seeds`: usually one to four changes. */
export function mutate(seed: Seed, seeds: readonly Seed[], random: Random): Uint8Array {
  let bytes: Uint8Array = seed.bytes.slice();
  const steps = 1 + (random.oneIn(2) ? 0 : random.below(4));
  for (let step = 0; step < steps; step += 1) {
    const kind = random.below(100);
    if (kind < 45 && seed.fields.length > 0) changeField(bytes, seed.fields, random);
    else if (kind < 60) flip(bytes, random);
    else if (kind < 70) setWord(bytes, random);
    else if (kind < 78) bytes = bytes.slice(0, random.below(bytes.length + 1));
    else if (kind < 84) bytes = remove(bytes, random);
    else if (kind < 90) bytes = repeat(bytes, random);
    else if (kind < 95) fill(bytes, random);
    else bytes = splice(bytes, random.pick(seeds)?.bytes ?? bytes, random);
  }
  return bytes.length > LARGEST ? bytes.slice(0, LARGEST) : bytes;
}

/** Mostly near the start, where headers are. */
function place(bytes: Uint8Array, random: Random): number {
  return random.oneIn(2) ? random.below(Math.min(bytes.length, 512)) : random.below(bytes.length);
}

function flip(bytes: Uint8Array, random: Random): void {
  const at = place(bytes, random);
  if (at < bytes.length)
    bytes[at] = (bytes[at] ?? 0) ^ (random.oneIn(2) ? 1 << random.below(8) : random.next());
}

function setWord(bytes: Uint8Array, random: Random): void {
  const size = random.pick([1, 2, 4, 8]) ?? 4;
  put(bytes, place(bytes, random) & ~(size - 1), size, valueFor(bytes, 0, 0n, random), random.oneIn(2));
}

function changeField(bytes: Uint8Array, fields: readonly FieldPlace[], random: Random): void {
  const field = random.pick(fields);
  if (field === undefined || field.offset + field.size > bytes.length) return;
  const little = !random.oneIn(3);
  const now = get(bytes, field.offset, field.size, little);
  put(bytes, field.offset, field.size, valueFor(bytes, field.offset, now, random), little);
}

function valueFor(bytes: Uint8Array, offset: number, now: bigint, random: Random): bigint {
  switch (random.below(9)) {
    case 0:
      return now + 1n;
    case 1:
      return now - 1n;
    case 2:
      return now * 2n;
    case 3:
      return BigInt(bytes.length - offset);
    case 4:
      return BigInt(bytes.length) + BigInt(random.below(3)) - 1n;
    case 5:
      return BigInt(random.below(bytes.length + 1));
    case 6:
      return random.pick(WIDE) ?? 0n;
    case 7:
      return now + (1n << BigInt(random.below(64)));
    default:
      return random.pick(EDGES) ?? 0n;
  }
}

function get(bytes: Uint8Array, offset: number, size: number, little: boolean): bigint {
  let value = 0n;
  for (let i = 0; i < size; i += 1)
    value = (value << 8n) | BigInt(bytes[little ? offset + size - 1 - i : offset + i] ?? 0);
  return value;
}

function put(bytes: Uint8Array, offset: number, size: number, value: bigint, little: boolean): void {
  for (let i = 0; i < size; i += 1) {
    const at = little ? offset + i : offset + size - 1 - i;
    if (at < bytes.length) bytes[at] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
}

/** A part: its start and length. */
function part(bytes: Uint8Array, random: Random): [number, number] {
  const start = place(bytes, random);
  const most = random.oneIn(2) ? 64 : bytes.length - start;
  return [start, random.below(most + 1)];
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const one of parts) {
    all.set(one, at);
    at += one.length;
  }
  return all;
}

function remove(bytes: Uint8Array, random: Random): Uint8Array {
  const [start, length] = part(bytes, random);
  return joined(bytes.subarray(0, start), bytes.subarray(start + length));
}

function repeat(bytes: Uint8Array, random: Random): Uint8Array {
  const [start, length] = part(bytes, random);
  const times = random.oneIn(8) ? 1 + random.below(200) : 1;
  const piece = bytes.subarray(start, start + length);
  const room = Math.max(1, Math.floor((LARGEST - bytes.length) / Math.max(1, length)));
  const copies = Array.from({ length: Math.min(times, room) }, () => piece);
  return joined(bytes.subarray(0, start), ...copies, bytes.subarray(start));
}

function fill(bytes: Uint8Array, random: Random): void {
  const [start, length] = part(bytes, random);
  bytes.fill(random.pick([0, 0xff, 0x80, 0x41]) ?? 0, start, start + length);
}

/** The start of one input, the rest of another. */
function splice(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const [from, length] = part(other, random);
  const at = place(bytes, random);
  const end = random.oneIn(2) ? at : at + length;
  return joined(bytes.subarray(0, at), other.subarray(from, from + length), bytes.subarray(end));
}
