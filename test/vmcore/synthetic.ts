import type { Architecture } from "../../src/guest/arch/architecture.js";
import type { GuestImage } from "../../src/guest/image.js";
import { X86_64 } from "../../src/guest/arch/x86.js";
import type { MemoryPiece, MemoryRange, PhysicalMemory } from "../../src/guest/memory.js";
import type { Vcpu } from "../../src/guest/vcpu.js";
import type { RandomSink } from "../../src/io/byte-sink.js";

/** Contents of the made-up guest at an address: never zero in present memory but on every fifth page. */
export function patternAt(gpa: number): number {
  const page = Math.floor(gpa / 4096);
  return page % 5 === 0 ? 0 : 1 + ((page * 31 + gpa) % 255);
}

/** A guest whose memory is `ranges`, filled with the pattern where present. */
export function syntheticGuest(
  ranges: readonly MemoryRange[],
  options: { arch?: Architecture; vcpus?: readonly Vcpu[]; vmcoreInfo?: string } = {},
): GuestImage {
  const fill = (gpa: number, into: Uint8Array, zero: boolean): void => {
    for (let i = 0; i < into.length; i += 1) into[i] = zero ? 0 : patternAt(gpa + i);
  };
  const memory: PhysicalMemory = {
    ranges: () => ranges,
    read(gpa, into) {
      let done = 0;
      for (const range of ranges) {
        if (range.presence === "absent" || gpa + done < range.start || gpa + done >= range.end) continue;
        const part = into.subarray(done, Math.min(into.length, done + range.end - gpa - done));
        fill(gpa + done, part, range.presence === "zero");
        done += part.length;
      }
      return done;
    },
    async *pieces(start = 0, end = Infinity): AsyncIterable<MemoryPiece> {
      for (const range of ranges) {
        if (range.presence === "absent") continue;
        const stop = Math.min(end, range.end);
        for (let gpa = Math.max(start, range.start); gpa < stop; ) {
          const length = Math.min(stop - gpa, 100_000);
          const bytes = range.presence === "zero" ? undefined : new Uint8Array(length);
          if (bytes !== undefined) fill(gpa, bytes, false);
          yield { gpa, length, bytes };
          gpa += length;
        }
      }
    },
  };
  return {
    arch: options.arch ?? X86_64,
    memory,
    vcpus: options.vcpus ?? [],
    warnings: [],
    facts: {
      origin: "made up",
      source: "test",
      ...(options.vmcoreInfo === undefined ? {} : { vmcoreInfo: { text: options.vmcoreInfo } }),
    },
  };
}

/** A random-access sink in memory that knows which bytes were written. */
export class SparseMemorySink implements RandomSink {
  readonly name = "sparse";
  bytes = new Uint8Array(0);
  written = 0;
  #position = 0;

  write(bytes: Uint8Array): void {
    this.writeAt(this.#position, bytes);
    this.#position += bytes.length;
  }

  writeAt(offset: number, bytes: Uint8Array): void {
    if (offset + bytes.length > this.bytes.length) this.truncate(offset + bytes.length);
    this.bytes.set(bytes, offset);
    this.written += bytes.length;
  }

  truncate(size: number): void {
    const all = new Uint8Array(size);
    all.set(this.bytes.subarray(0, size));
    this.bytes = all;
  }
}
