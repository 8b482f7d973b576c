import type { ByteSource } from "../io/byte-source.js";

/** A part of an input that is lost to damage: bytes, `end` exclusive. */
export interface LostPart {
  readonly start: number;
  readonly end: number;
  /** How many records in a row prove the place where reading goes on. */
  readonly proof: number;
}

/** Bytes that stand in for those of an input. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** An input with its damage bridged, so that a format's ordinary reader goes through it. */
export interface Salvage {
  readonly source: ByteSource;
  readonly lost: readonly LostPart[];
}

/**
 * A source in which some bytes are others: all offsets stay as they are. `patches` are ascending and disjoint.
 * A format bridges damage by putting a record that says "skip this" where the damage begins.
 */
export function patchedSource(source: ByteSource, patches: readonly Patch[]): ByteSource {
  const apply = (offset: number, into: Uint8Array, n: number): number => {
    const end = offset + n;
    // few inputs have more than one damaged part
    for (const { offset: at, bytes } of patches) {
      if (at >= end) break;
      const from = Math.max(at, offset);
      const to = Math.min(at + bytes.length, end);
      if (from < to) into.set(bytes.subarray(from - at, to - at), from - offset);
    }
    return n;
  };
  return {
    name: source.name,
    size: source.size,
    read: (offset, into) => {
      const n = source.read(offset, into);
      return n instanceof Promise ? n.then((count) => apply(offset, into, count)) : apply(offset, into, n);
    },
  };
}

/** A lost part in a sentence: where it is, and how sure it is that records go on after it. */
export function describeLost({ start, end, proof }: LostPart): string {
  const sure = proof === 1 ? "one record proves" : `${proof} records in a row prove`;
  return `damaged: the bytes 0x${start.toString(16)} to 0x${end.toString(16)} (${end - start}) are lost; ${sure} that reading goes on after them`;
}
