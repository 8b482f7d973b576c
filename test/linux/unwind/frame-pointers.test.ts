import { describe, expect, it } from "vitest";
import { FormatError } from "../../../src/findings/errors.js";
import { StackWalk } from "../../../src/linux/unwind/stack-walk.js";
import type { StackSpan } from "../../../src/linux/unwind/stacks.js";
import type { X86State } from "../../../src/linux/unwind/x86.js";
import { stepX86FramePointer } from "../../../src/linux/unwind/x86-frame-pointers.js";

const STACK = 0xffff_c900_0000_0000n;
const TASK: StackSpan = { kind: "task", low: STACK, high: STACK + 0x4000n };
const IRQ: StackSpan = { kind: "irq", low: STACK + 0x8000n, high: STACK + 0xc000n };
const TEXT = 0xffff_ffff_8100_0000n;
/** Where the registers are that the task entered the kernel with. */
const ENTRY = 0x4000 - 21 * 8;

async function unwind(words: Readonly<Record<number, bigint>>, bp: number): Promise<X86State[]> {
  const stack = new StackWalk(
    {
      read(va, into) {
        const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
        for (let at = 0; at + 8 <= into.length; at += 8)
          view.setBigUint64(at, words[Number(va - STACK) + at] ?? 0n, true);
        return into.length;
      },
      whyUnreadable: async () => "test",
    },
    [TASK, IRQ],
  );
  const states: X86State[] = [];
  const sp = STACK + BigInt(bp) - 0x20n;
  let state: X86State | undefined = { pc: TEXT, sp, bp: STACK + BigInt(bp), interrupted: false };
  while (state !== undefined && states.length < 100) {
    states.push(state);
    state = await stepX86FramePointer(stack, state, TASK, async (address) => address);
  }
  return states;
}

const at = (distance: number): bigint => STACK + BigInt(distance);
const pcs = (states: readonly X86State[]): string[] =>
  states.map(({ pc, registers }) => `${registers === undefined ? "" : "!"}${pc.toString(16)}`);
const registers = (place: number, values: Readonly<Record<number, bigint>>): Record<number, bigint> =>
  Object.fromEntries(Object.entries(values).map(([index, value]) => [place + 8 * Number(index), value]));
/** Indexes in `pt_regs`. */
const RBP = 4;
const RIP = 16;
const CS = 17;
const RSP = 19;

describe("frame pointers of x86_64 kernels without unwind tables", () => {
  it("lead to the registers of user mode below which the first frame is", async () => {
    const words = {
      0x3000: at(0x3100),
      0x3008: TEXT + 1n,
      0x3100: at(ENTRY - 16),
      0x3108: TEXT + 2n,
      ...registers(ENTRY, { [RIP]: 0x401000n, [CS]: 0x33n, [RSP]: 0x7fff_0000n }),
    };
    expect(pcs(await unwind(words, 0x3000))).toEqual([
      "ffffffff81000000",
      "ffffffff81000001",
      "ffffffff81000002",
      "!401000",
    ]);
  });

  it("end with a kernel thread's first frame, whose registers are empty", async () => {
    expect(pcs(await unwind({ 0x3000: at(ENTRY - 16), 0x3008: TEXT + 1n }, 0x3000))).toHaveLength(2);
    expect(pcs(await unwind({ 0x3000: 0n, 0x3008: TEXT + 1n }, 0x3000))).toHaveLength(2);
  });

  it("pass through an interrupt's registers, whose address bp marks", async () => {
    const words = {
      0x8100: at(0x2000) + 1n,
      0x8108: TEXT + 1n,
      ...registers(0x2000, { [RIP]: TEXT + 9n, [CS]: 0x10n, [RSP]: at(0x2f00), [RBP]: at(0x3000) }),
      0x3000: 0n,
      0x3008: TEXT + 2n,
    };
    expect(pcs(await unwind(words, 0x8100))).toEqual([
      "ffffffff81000000",
      "ffffffff81000001",
      "!ffffffff81000009",
      "ffffffff81000002",
    ]);
  });

  it("that loop end with a sentence", async () => {
    await expect(unwind({ 0x3000: at(0x3000), 0x3008: TEXT }, 0x3000)).rejects.toThrow(FormatError);
    await expect(
      unwind({ 0x3000: at(0x9000), 0x3008: TEXT, 0x9000: at(0x3000), 0x9008: TEXT }, 0x3000),
    ).rejects.toThrow(/which was left before$/);
  });
});
