import { FflateSteps } from "../fflate-steps.js";
import { CODEC_RULES } from "../../rules.js";
import { FormatError } from "../../../findings/errors.js";
import type { Frame, PackedBytes } from "./frame.js";

/*
 * gzip (RFC 1952): members follow one another, and nothing says how long one is before it is unpacked, except in the
 * blocked form (BGZF, the SAM/BAM specification, section 4.1), where an extra field does.
 */

const MAGIC = Uint8Array.of(0x1f, 0x8b, 0x08);
const BGZF_MAGIC = Uint8Array.of(0x1f, 0x8b, 0x08, 0x04);
const BGZF_HEADER = 18;
/** Bytes that `bgzip` puts into each member but the last. */
const BGZF_SIZE = 0xff00;
/** Bytes of output that prove that a member begins where its magic number is. */
const PROOF = 32 << 10;
const STEP = 16 << 10;

/** Finds the members of gzip data. */
export async function* gzipFrames(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  const isBlocked = (await blockEnd(packed, 0)) !== undefined || (await nextBlock(packed, 1)) !== undefined;
  yield* isBlocked ? blocks(packed) : members(packed);
}

/** Where the BGZF member at an offset ends; undefined: there is none. */
async function blockEnd(packed: PackedBytes, at: number): Promise<number | undefined> {
  const head = await packed.at(at, BGZF_HEADER);
  const fits =
    head.length === BGZF_HEADER &&
    BGZF_MAGIC.every((byte, i) => head[i] === byte) &&
    // an extra field of six bytes: BC, its length, the member's length less one
    head[10] === 6 &&
    head[11] === 0 &&
    head[12] === 0x42 &&
    head[13] === 0x43 &&
    head[14] === 2 &&
    head[15] === 0;
  const end = at + ((head[16] ?? 0) | ((head[17] ?? 0) << 8)) + 1;
  return fits && end <= packed.size && end > at + BGZF_HEADER ? end : undefined;
}

/** The next BGZF member from an offset on, which another or the end follows. */
function nextBlock(packed: PackedBytes, from: number): Promise<number | undefined> {
  return packed.find([BGZF_MAGIC], from, async (at) => isBoundary(packed, await blockEnd(packed, at)));
}

async function isBoundary(packed: PackedBytes, at: number | undefined): Promise<boolean> {
  return at !== undefined && (at === packed.size || (await blockEnd(packed, at)) !== undefined);
}

async function* blocks(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  for (let at = 0; at < packed.size; ) {
    const start = at;
    const end = await blockEnd(packed, start);
    if (end !== undefined && (await isBoundary(packed, end))) {
      const length = await packed.at(end - 4, 4);
      const size = new DataView(length.buffer, length.byteOffset, 4).getUint32(0, true);
      yield {
        start,
        end,
        // said by the member's last bytes, which may be damaged, and by what all have
        ...(size === BGZF_SIZE ? { size } : {}),
        open: () => packed.stream(start, end),
      };
      at = end;
      continue;
    }
    at = (await nextBlock(packed, start + 1)) ?? packed.size;
    yield { start, end: at };
  }
}

async function* members(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  for (let at = 0; at < packed.size; ) {
    const start = at;
    const next = await followingMember(packed, start);
    const end =
      next ??
      (await packed.find([MAGIC], start + 1, async (offset) => isMember(packed, offset))) ??
      packed.size;
    yield { start, end, open: () => packed.stream(start, end), parts: () => within(packed, start, end) };
    at = end;
  }
}

/** A member that turns out damaged: it may have been unpacked past its end, over the next one's start. */
async function* within(
  packed: PackedBytes,
  start: number,
  end: number,
): AsyncGenerator<Frame, void, undefined> {
  for (let at = start; at < end; ) {
    const from = at;
    const next = await packed.find(
      [MAGIC],
      from + 1,
      async (offset) => offset >= end || isMember(packed, offset),
    );
    const to = Math.min(next ?? end, end);
    yield { start: from, end: to, open: () => packed.stream(from, to) };
    at = to;
  }
}

/** Where the member after the one at an offset begins, or the data end; undefined where it can't be unpacked. */
async function followingMember(packed: PackedBytes, start: number): Promise<number | undefined> {
  let next: number | undefined;
  const whole = await inflate(packed, start, (found) => {
    next = found;
    return true;
  });
  return next ?? (whole ? packed.size : undefined);
}

/** Whether what follows an offset unpacks as a member's start. */
async function isMember(packed: PackedBytes, start: number): Promise<boolean> {
  const flags = (await packed.at(start + 3, 1))[0] ?? 0xff;
  if ((flags & 0xe0) !== 0) return false;
  let isEnded = false;
  const length = await inflate(
    packed,
    start,
    () => {
      isEnded = true;
      return true;
    },
    PROOF,
  );
  return isEnded || length;
}

/**
 * Unpacks members from an offset on, until `onMember` (of the next one's offset) says to stop, or after `most` bytes.
 * Answers whether no damage was met.
 */
async function inflate(
  packed: PackedBytes,
  start: number,
  onMember: (next: number) => boolean,
  most = Number.POSITIVE_INFINITY,
): Promise<boolean> {
  const { Gunzip } = await import("fflate");
  const steps = new FflateSteps(CODEC_RULES.gzip, "gzip");
  const came = { length: 0, isDone: false };
  const decoder = new Gunzip((piece) => {
    steps.take(piece);
    came.length += piece.length;
  });
  // not called for the first
  decoder.onmember = (at) => {
    if (!came.isDone) came.isDone = onMember(start + at);
  };
  try {
    for (let at = start; at < packed.size; at += STEP) {
      if (came.isDone || came.length >= most) break;
      const chunk = (await packed.at(at, STEP)).slice();
      for (const piece of steps.push(decoder, chunk, at + STEP >= packed.size)) void piece;
    }
    return true;
  } catch (error) {
    if (error instanceof FormatError) return came.isDone;
    throw error;
  }
}
