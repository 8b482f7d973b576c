import { expect } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { type DamageKind, expectRescue, randoms } from "../../guest/damage-oracle.js";
import { type KnownStream, knownStream } from "./known-stream.js";
import type { Sample } from "./streams.js";

/** Bytes of a stream's head that are damaged; `end` exclusive. */
export interface HeadPart {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** Whether chunks are damaged, too. */
  readonly isBeyond?: boolean;
}

/** Every field of a stream's head, several at once, all of it, and what follows it too. */
export function headParts({ stream, meta }: Sample, { first, batches }: KnownHead["file"]): HeadPart[] {
  const isXl = meta.envelope === "xl";
  const base = isXl ? 48 + stream.readUInt32LE(44) : 0;
  const word = meta.width / 8;
  const part = (name: string, start: number, length: number): HeadPart => ({
    name,
    start,
    end: start + length,
  });
  const parts = [
    part("p2m_size", base, word),
    part("the first two bytes of p2m_size", base, 2),
    part("all of the head", 0, first),
    part("half of the head", 0, first >> 1),
    { ...part("all of the head and the chunk after it", 0, first + 24), isBeyond: true },
  ];
  // of an only batch nothing would be left
  if (batches.length > 1)
    for (const size of [4096, 1 << 16, 1 << 20])
      if ((batches.at(-1) ?? 0) > first + size)
        parts.push({ ...part(`all of the head and ${size} bytes`, 0, first + size), isBeyond: true });
  if (isXl)
    parts.push(
      part("the magic", 0, 32),
      part("a byte of the magic", 5, 1),
      part("the byte order", 32, 4),
      part("the flags", 36, 4),
      part("the optional flags", 40, 4),
      part("the length of the optional data", 44, 4),
      part("the length of the configuration", 48, 4),
      part("all numbers of the xl header", 32, 20),
      part("some of the configuration", 60, 40),
      part("the configuration", 52, base - 52),
      part("the xl header", 0, base),
      part("the end of the configuration and p2m_size", base - 20, 20 + word),
    );
  if (meta.guest === "hvm") return parts;
  const info = base + 2 * word;
  const end = info + 4 + stream.readUInt32LE(info);
  return [
    ...parts,
    part("the signature", base + word, word),
    part("p2m_size and the signature", base, 2 * word),
    part("the length of the extended info", info, 4),
    part("the name of the block vcpu", info + 4, 4),
    part("the size of the block vcpu", info + 8, 4),
    part("the head of the block vcpu", info + 4, 8),
    part("the blocks after vcpu", end - (meta.pv?.xcnt === null ? 8 : 20), meta.pv?.xcnt === null ? 8 : 20),
    part("the end of the extended info and the list of p2m frames", end - 8, first - end + 8),
    part("the extended info", info, end - info),
    part("the signature and the extended info", base + word, end - base - word),
    part("an entry of the list of p2m frames", end, word),
    part("the list of p2m frames", end, first - end),
  ];
}

type Open = (damaged: Buffer) => Promise<GuestImage>;

/** A stream of one checkpoint, and what its guest is like. */
export interface KnownHead {
  readonly file: KnownStream;
  readonly whole: GuestImage;
}

/** Opens a sample whose head will be damaged. @param isLive its batches name few pages of many */
export async function knownHead({ name, stream }: Sample, open: Open): Promise<KnownHead> {
  const file = await knownStream(name, stream);
  const isSparse = name.endsWith("-live");
  return { file: { ...file, isSparse, open }, whole: await open(stream) };
}

/** Damages a part of a stream's head: its memory, and where only the head is damaged its vCPUs, must be there. */
export async function expectHeadRescue(
  { file, whole }: KnownHead,
  { start, end, isBeyond = false }: HeadPart,
  kind: DamageKind,
): Promise<void> {
  const seed = start * 7919 + end;
  await expectRescue(file, kind, start, end - start, randoms(seed));
  if (isBeyond) return;
  const damaged = Buffer.from(file.bytes).fill(kind === "zeros" ? 0 : 0xff, start, end);
  const guest = await file.open(damaged);
  expect(guest.facts.guestType).toBe(whole.facts.guestType);
  expect(guest.arch.name).toBe(whole.arch.name);
  expect(guest.vcpus.map(({ id, registers }) => ({ id, registers }))).toEqual(
    whole.vcpus.map(({ id, registers }) => ({ id, registers })),
  );
  await guest.close?.();
}

/** A source of damaged bytes. */
export const damagedSource = (bytes: Uint8Array): ReturnType<typeof bytesSource> =>
  bytesSource(bytes, "damaged");
