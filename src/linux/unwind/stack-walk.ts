import { viewOf } from "../../binary/layout.js";
import type { AddressSpace } from "../address-space.js";
import { absent, damaged, hex } from "../rules.js";
import type { StackKind } from "./frame.js";
import { LINUX_STACK_RULES } from "./rules.js";
import type { StackSpan } from "./stacks.js";

/** Virtual memory that stacks are in. */
export type StackMemory = Pick<AddressSpace, "read" | "whyUnreadable">;

/** Times that a walk may go down: from one stack to another. */
const MOST_FALLS = 8;

/**
 * The stacks one backtrace may touch, each entered once and left for good: whatever the memory holds, a walk ends.
 * With no stacks known, any mapped memory is read and only the way up is held to.
 */
export class StackWalk {
  readonly #space: StackMemory;
  readonly #spans: readonly StackSpan[];
  readonly #left = new Set<StackSpan>();
  #here: StackSpan | undefined;
  #falls = 0;

  constructor(space: StackMemory, spans: readonly StackSpan[]) {
    this.#space = space;
    this.#spans = spans;
  }

  /** The stack that was read last. */
  get kind(): StackKind | undefined {
    return this.#here?.kind;
  }

  /** The stack an address is on. */
  spanOf(address: bigint): StackSpan | undefined {
    return this.#spans.find(({ low, high }) => address >= low && address < high);
  }

  /** Goes on to the stack that holds [address, address + length). @throws FormatError `linux/stack/left` */
  enter(address: bigint, length: bigint): void {
    if (this.#spans.length === 0) return;
    const here = this.#here;
    if (here !== undefined && address >= here.low && address + length <= here.high) return;
    const span = this.spanOf(address);
    if (span === undefined || address + length > span.high) {
      throw damaged(
        LINUX_STACK_RULES.left,
        `the next frame at ${hex(address)} is on none of the task's stacks`,
      );
    }
    if (this.#left.has(span)) {
      throw damaged(
        LINUX_STACK_RULES.left,
        `the next frame at ${hex(address)} is on the ${span.kind} stack, which was left before`,
      );
    }
    if (here !== undefined) this.#left.add(here);
    this.#here = span;
  }

  /** A word of the stack. @throws AbsentError, FormatError `linux/stack/…` */
  async word(address: bigint): Promise<bigint> {
    return viewOf(await this.bytes(address, 8)).getBigUint64(0, true);
  }

  /** Bytes of the stack. @throws AbsentError, FormatError `linux/stack/…` */
  async bytes(address: bigint, length: number): Promise<Uint8Array> {
    this.enter(address, BigInt(length));
    const bytes = new Uint8Array(length);
    const n = await this.#space.read(address, bytes);
    if (n === length) return bytes;
    const at = address + BigInt(n);
    throw absent(
      LINUX_STACK_RULES.memory,
      `the stack ends at ${hex(at)}: ${await this.#space.whyUnreadable(at)}`,
    );
  }

  /** Checks that a step from one frame's stack pointer to the next goes up. @throws FormatError `linux/stack/loop` */
  step(from: bigint, to: bigint): void {
    if (to > from) return;
    const span = this.spanOf(from);
    const isSame = span !== undefined && to >= span.low && to < span.high;
    // where no stacks are known, a switch to another one can't be distinguished from a loop
    this.#falls += 1;
    if (isSame || this.#falls > MOST_FALLS) {
      throw damaged(LINUX_STACK_RULES.loop, `the frame at ${hex(from)} is followed by one at ${hex(to)}`);
    }
  }
}
