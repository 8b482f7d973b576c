import { signal } from "@preact/signals";
import type { ByteState, Space } from "../../../src/open/session/protocol.js";
import { asProblem, type Client } from "../session/client.js";

/** Bytes asked for at a time. */
export const BLOCK = 16 << 10;
const MOST_BLOCKS = 96;
const MOST_IN_FLIGHT = 4;

/** Bytes of a space and what they are, from a multiple of BLOCK on. */
export interface Block {
  readonly bytes: Uint8Array;
  /** Index into `STATES` for each byte. */
  readonly states: Uint8Array;
  readonly reasons: readonly { readonly offset: number; readonly length: number; readonly reason: string }[];
  /** Guest-physical addresses, for virtual spaces. */
  readonly physical: readonly { readonly offset: number; readonly length: number; readonly gpa: number }[];
}

export const STATES: readonly ByteState[] = [
  "present",
  "zero",
  "absent",
  "hole",
  "unmapped",
  "damaged",
  "end",
];

/** Blocks of one space, asked for as they are looked at; the latest wish is served first. */
export class Blocks {
  /** Changes whenever a block arrives. */
  readonly version = signal(0);
  /** Why reading failed at all, which is not the same as absent bytes. */
  readonly problem = signal<string | undefined>(undefined);
  readonly #client: Client;
  readonly #space: Space;
  readonly #blocks = new Map<bigint, Block>();
  #wanted: bigint[] = [];
  readonly #flying = new Set<bigint>();

  constructor(client: Client, space: Space) {
    this.#client = client;
    this.#space = space;
  }

  /** The block that holds an address, if it is there. */
  at(address: bigint): Block | undefined {
    return this.#blocks.get(address / BigInt(BLOCK));
  }

  /** Asks for the blocks of [first, last]; what was asked for before and isn't on its way is forgotten. */
  want(first: bigint, last: bigint): void {
    const wanted: bigint[] = [];
    for (let number = first / BigInt(BLOCK); number <= last / BigInt(BLOCK); number += 1n)
      if (!this.#blocks.has(number) && !this.#flying.has(number)) wanted.push(number);
    this.#wanted = wanted;
    // what failed stays said while other blocks of the same place arrive
    if (wanted.length > 0) this.problem.value = undefined;
    this.#pump();
  }

  #pump(): void {
    while (this.#flying.size < MOST_IN_FLIGHT) {
      const number = this.#wanted.shift();
      if (number === undefined) return;
      this.#flying.add(number);
      void this.#load(number);
    }
  }

  async #load(number: bigint): Promise<void> {
    const space = this.#space;
    try {
      const { bytes, runs } = await this.#client.call("read", {
        space,
        address: number * BigInt(BLOCK),
        length: BLOCK,
      });
      const states = new Uint8Array(BLOCK);
      for (const { offset, length, state } of runs)
        states.fill(Math.max(0, STATES.indexOf(state)), offset, offset + length);
      this.#blocks.set(number, {
        bytes,
        states,
        reasons: runs.flatMap(({ offset, length, reason }) =>
          reason === undefined ? [] : [{ offset, length, reason }],
        ),
        physical: runs.flatMap(({ offset, length, physical }) =>
          physical === undefined ? [] : [{ offset, length, gpa: physical }],
        ),
      });
      const oldest = this.#blocks.keys().next();
      if (this.#blocks.size > MOST_BLOCKS && oldest.done !== true) this.#blocks.delete(oldest.value);
    } catch (error) {
      this.problem.value = asProblem(error).message;
    } finally {
      this.#flying.delete(number);
      this.version.value += 1;
      this.#pump();
    }
  }
}
