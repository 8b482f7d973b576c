import type { MaybePromise } from "../io/byte-source.js";
import type { GuestImage } from "./image.js";
import { PAGE_SIZE, type PhysicalMemory } from "./memory.js";
import { lookUp, pagingOf } from "./paging/walk.js";

/** Bytes that can't be read, in one run: `end` exclusive. */
export interface Gap {
  readonly end: bigint;
  /** Why, in a phrase. */
  readonly why: string;
}

/** Memory by address, physical or virtual, in which any byte may be missing. */
export interface MemorySpace {
  /** Fills `into` from `address` on; returns how many bytes could be read before the first that is missing. */
  read(address: bigint, into: Uint8Array): MaybePromise<number>;
  /** Why the byte at `address` can't be read, and where the next begins that may be. */
  gapAt(address: bigint): MaybePromise<Gap>;
}

/** A part of a span of memory, in address order. */
export interface SpanPart {
  readonly address: bigint;
  readonly length: number;
  /** The contents, valid until the next part is asked for; undefined: they are missing. */
  readonly bytes: Uint8Array | undefined;
  /** Why they are missing. */
  readonly why?: string;
}

const BLOCK = 1 << 20;

/** Guest-physical memory as a space of addresses. */
export function physicalSpace(memory: PhysicalMemory): MemorySpace {
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  return {
    read: (address, into) => (address > limit ? 0 : memory.read(Number(address), into)),
    gapAt: (address) => {
      const at = address > limit ? Number.MAX_SAFE_INTEGER : Number(address);
      for (const { start, end, presence, reason } of memory.ranges()) {
        if (end <= at) continue;
        if (start > at) return { end: BigInt(start), why: "the guest has no memory here" };
        if (presence === "absent")
          return { end: BigInt(end), why: `absent: ${reason?.text ?? "not in the input"}` };
        // said to be there, but its contents can't be read
        return {
          end: BigInt(Math.min(end, at - (at % PAGE_SIZE) + PAGE_SIZE)),
          why: "absent: it can't be read",
        };
      }
      return { end: 1n << 64n, why: "the guest has no memory here" };
    },
  };
}

/** Virtual memory as the page tables of the guest's first vCPU map it; undefined where they aren't known (x86 only). */
export function vcpuSpace(guest: GuestImage): MemorySpace | undefined {
  const registers = guest.vcpus.find((vcpu) => vcpu.registers !== undefined)?.registers;
  if (registers?.kind !== "x86") return undefined;
  const paging = pagingOf(registers);
  const { memory } = guest;
  const find = async (address: bigint): Promise<number | Gap> => {
    const found = await lookUp(memory, paging, address);
    const page = (address >> 12n) << 12n;
    if (found === undefined) return { end: page + 4096n, why: "a page table is not in the input" };
    if ("gpa" in found) return found.gpa;
    const span = 1n << BigInt(found.unmapped);
    return { end: (address / span) * span + span, why: "not mapped" };
  };
  return {
    read: async (address, into) => {
      let done = 0;
      while (done < into.length) {
        const place = await find(address + BigInt(done));
        if (typeof place !== "number") break;
        const part = Math.min(PAGE_SIZE - (place % PAGE_SIZE), into.length - done);
        const n = await memory.read(place, into.subarray(done, done + part));
        done += n;
        if (n < part) break;
      }
      return done;
    },
    gapAt: async (address) => {
      const place = await find(address);
      if (typeof place !== "number") return place;
      const physical = await physicalSpace(memory).gapAt(BigInt(place));
      return { end: ((address >> 12n) << 12n) + 4096n, why: physical.why };
    },
  };
}

/** The span [start, start + length) of a space, in parts that are either readable or missing; neighbours of one kind are parts of their own only where the reason changes or a part would be larger than a MiB. */
export async function* readSpan(
  space: MemorySpace,
  start: bigint,
  length: number,
): AsyncGenerator<SpanPart, void, undefined> {
  const end = start + BigInt(length);
  const block = new Uint8Array(Math.min(BLOCK, length));
  let missing: { address: bigint; end: bigint; why: string } | undefined;
  for (let at = start; at < end; ) {
    const left = end - at;
    const part = left < BigInt(block.length) ? block.subarray(0, Number(left)) : block;
    const n = await space.read(at, part);
    if (n > 0) {
      if (missing !== undefined) yield missingPart(missing);
      missing = undefined;
      yield { address: at, length: n, bytes: part.subarray(0, n) };
      at += BigInt(n);
      if (n === part.length) continue;
    }
    const gap = await space.gapAt(at);
    const until = gap.end > end ? end : gap.end > at ? gap.end : at + 1n;
    if (missing?.why === gap.why) missing.end = until;
    else {
      if (missing !== undefined) yield missingPart(missing);
      missing = { address: at, end: until, why: gap.why };
    }
    at = until;
  }
  if (missing !== undefined) yield missingPart(missing);
}

function missingPart({ address, end, why }: { address: bigint; end: bigint; why: string }): SpanPart {
  return { address, length: Number(end - address), bytes: undefined, why };
}
