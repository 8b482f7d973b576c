import { firstAtLeast } from "../../binary/search.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import type { MappedRun } from "../address-space.js";

/** The pages that are asked for, by ascending number: what maps memory is gone through once for all of them. */
export class WantedFrames {
  /** Numbers of the pages. */
  readonly numbers: Float64Array;

  /** @param addresses guest-physical addresses in them */
  constructor(addresses: readonly number[]) {
    this.numbers = Float64Array.from(new Set(addresses.map((gpa) => Math.floor(gpa / PAGE_SIZE)))).sort();
  }

  /** The index of the page that holds a guest-physical address. */
  indexOf(gpa: number): number {
    return firstAtLeast(this.numbers, Math.floor(gpa / PAGE_SIZE));
  }

  /** Pages in a mapped run, with the virtual address at which each begins. */
  *in({ va, gpa, length }: MappedRun): Generator<{ readonly index: number; readonly va: bigint }> {
    const first = Math.floor(gpa / PAGE_SIZE);
    const end = first + length / PAGE_SIZE;
    for (let index = firstAtLeast(this.numbers, first); index < this.numbers.length; index += 1) {
      const number = this.numbers[index] ?? Infinity;
      if (number >= end) return;
      yield { index, va: BigInt.asUintN(64, va + BigInt((number - first) * PAGE_SIZE)) };
    }
  }
}
