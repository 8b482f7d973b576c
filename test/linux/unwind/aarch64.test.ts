import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AbsentError, FormatError } from "../../../src/io/errors.js";
import { type Arm64Frames, type Arm64State, stepArm64 } from "../../../src/linux/unwind/aarch64.js";
import { type KernelCode, leafCaller } from "../../../src/linux/unwind/aarch64-leaf.js";
import { StackWalk } from "../../../src/linux/unwind/stack-walk.js";
import type { StackSpan } from "../../../src/linux/unwind/stacks.js";

const STACK = 0xffff_8000_8000_0000n;
const TASK: StackSpan = { kind: "task", low: STACK, high: STACK + 0x4000n };
const IRQ: StackSpan = { kind: "irq", low: STACK + 0x1_0000n, high: STACK + 0x1_4000n };
const TEXT = 0xffff_8000_0800_0000n;
/** `struct pt_regs` of Linux 6.12: a frame record at 304 of 336 bytes. */
const OLD: Arm64Frames = { size: 336, record: 304, hasMeta: false };
const NEW: Arm64Frames = { size: 336, record: 304, hasMeta: true };
const ENTRY = 0x4000 - 336;

type Words = Record<number, bigint>;

function walkOf(words: Words): StackWalk {
  return new StackWalk(
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
}

/** Functions of 64 bytes each from TEXT on, made of these instructions. */
function codeOf(words: readonly number[] = []): KernelCode {
  return {
    place: (address) => {
      const at = Number(address - TEXT);
      if (at < 0 || at >= 0x1000) return undefined;
      return { name: `f${Math.floor(at / 64)}`, offset: at % 64, size: 64 };
    },
    // the upper half's addresses have ones above 48 bits; a signature is anything else there
    stripPac: (address) => (address & (1n << 55n) ? address | (0xffffn << 48n) : address),
    readVirtual: (address, into) => {
      const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
      for (let at = 0; at + 4 <= into.length; at += 4)
        view.setUint32(at, words[Number(address - TEXT + BigInt(at)) / 4] ?? NOP, true);
      return into.length;
    },
  };
}

const NOP = 0xd503_201f;
const PUSH = 0xa9bd_7bfd;
const RET = 0xd65f_03c0;
const BL = 0x9400_0010;
const keep = async (address: bigint): Promise<bigint> => address;

async function unwind(
  frames: Arm64Frames,
  words: Words,
  start: Arm64State,
  code = codeOf(),
): Promise<Arm64State[]> {
  const stack = walkOf(words);
  const states: Arm64State[] = [];
  for (let state: Arm64State | undefined = start; state !== undefined; ) {
    states.push(state);
    if (states.length > 3000) throw new Error("no end");
    state = await stepArm64(code, frames, stack, state, TASK, keep);
  }
  return states;
}

const at = (distance: number): bigint => STACK + BigInt(distance);
const pcs = (states: readonly Arm64State[]): string[] =>
  states.map(({ pc, registers }) => `${registers === undefined ? "" : "!"}${(pc - TEXT).toString(16)}`);
/** The registers that user mode entered the kernel with. */
const userEntry: Words = { [ENTRY + 8 * 31]: 0x7fff_0000n, [ENTRY + 8 * 32]: TEXT + 0x40_0000n };

describe("frame records of aarch64", () => {
  it("lead to the registers of user mode", async () => {
    const words: Words = {
      0x3000: at(0x3100),
      0x3008: TEXT + 0x104n,
      0x3100: at(ENTRY + 304),
      0x3108: TEXT + 0x204n,
      ...userEntry,
    };
    const states = await unwind(OLD, words, { pc: TEXT + 4n, fp: at(0x3000), interrupted: false });
    expect(pcs(states)).toEqual(["4", "104", "204", "!400000"]);
    expect(states.at(-1)?.registers?.sp).toBe(0x7fff_0000n);
  });

  it("of a kernel thread end without registers", async () => {
    const words: Words = { 0x3000: at(ENTRY + 304), 0x3008: TEXT + 0x104n };
    expect(pcs(await unwind(OLD, words, { pc: TEXT + 4n, fp: at(0x3000), interrupted: false }))).toEqual([
      "4",
      "104",
    ]);
  });

  it("have their signatures taken off", async () => {
    const signed = (TEXT + 0x104n) ^ (0x1234n << 48n);
    const states = await unwind(
      OLD,
      { 0x3000: 0n, 0x3008: signed },
      { pc: TEXT, fp: at(0x3000), interrupted: false },
    );
    expect(states[1]?.pc).toBe(TEXT + 0x104n);
  });

  /** Registers that an exception kept at a distance from STACK. */
  const exception = (place: number, pc: bigint, fp: bigint): Words => ({
    [place + 8 * 29]: fp,
    [place + 8 * 30]: 0n,
    [place + 8 * 31]: at(place + 336),
    [place + 8 * 32]: pc,
    [place + 8 * 33]: 5n,
  });

  it("pass through the registers of an exception, by their copy until 6.13, by their mark since", async () => {
    const rest: Words = {
      0x1_0800: at(0x2000 + 304),
      0x1_0808: TEXT + 0x104n,
      0x3000: 0n,
      0x3008: TEXT + 0x304n,
      ...exception(0x2000, TEXT + 0x210n, at(0x3000)),
    };
    const start: Arm64State = { pc: TEXT + 4n, fp: at(0x1_0800), interrupted: false };
    const old = { ...rest, [0x2000 + 304]: at(0x3000), [0x2000 + 312]: TEXT + 0x210n };
    expect(pcs(await unwind(OLD, old, start))).toEqual(["4", "104", "!210", "304"]);
    const marked = { ...rest, [0x2000 + 320]: 2n };
    expect(pcs(await unwind(NEW, marked, start))).toEqual(["4", "104", "!210", "304"]);
  });

  it("end at the mark of the last one", async () => {
    const words: Words = { 0x3000: at(ENTRY + 304), 0x3008: TEXT + 0x104n, [ENTRY + 320]: 1n, ...userEntry };
    const states = await unwind(NEW, words, { pc: TEXT + 4n, fp: at(0x3000), interrupted: false });
    expect(pcs(states)).toEqual(["4", "104", "!400000"]);
  });

  it("that loop or lead away end with a sentence", async () => {
    const start: Arm64State = { pc: TEXT, fp: at(0x3000), interrupted: false };
    const loop: Words = { 0x3000: at(0x3000), 0x3008: TEXT + 4n };
    await expect(unwind(OLD, loop, start)).rejects.toThrow(/^the frame at 0x\w+ is followed by one at/);
    await expect(unwind(OLD, { 0x3000: at(0x8000), 0x3008: TEXT }, start)).rejects.toThrow(
      /on none of the task's stacks$/,
    );
    await expect(unwind(OLD, { 0x3000: at(0x3101), 0x3008: TEXT }, start)).rejects.toThrow(
      /is not that of a frame$/,
    );
  });

  it("of random stacks always end", async () => {
    const value = fc.oneof(
      fc.nat(0x1_4000).map((n) => at(n - (n % 8))),
      fc.constant(0n),
      fc.constant(TEXT + 4n),
    );
    const words = fc.array(value, { minLength: 64, maxLength: 64 });
    await fc.assert(
      fc.asyncProperty(words, fc.boolean(), async (list, isNew) => {
        const memory = Object.fromEntries(
          Array.from({ length: 0x1_4000 / 8 }, (_, i): [number, bigint] => [i * 8, list[(i * 7) % 64] ?? 0n]),
        );
        try {
          await unwind(isNew ? NEW : OLD, memory, { pc: TEXT, fp: at(0x100), interrupted: false });
        } catch (error) {
          expect(error instanceof FormatError || error instanceof AbsentError).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("interrupted aarch64 code without a frame record", () => {
  const pc = TEXT + 64n + 8n;
  const link = TEXT + 128n + 16n;
  /** Function f2 calls f1 right before `link`; f1 is as given. */
  const leaf = (...words: readonly number[]): KernelCode => {
    const all: number[] = [];
    all[(128 + 12) / 4] = BL;
    for (const [i, word] of words.entries()) all[16 + i] = word;
    return codeOf(all);
  };

  it("was called from where x30 says", async () => {
    expect(await leafCaller(leaf(NOP, NOP, NOP), pc, link)).toBe(link);
    expect(await leafCaller(leaf(NOP, NOP, PUSH), pc, link)).toBe(link);
    expect(await leafCaller(leaf(PUSH, NOP, RET), pc, link)).toBe(link);
  });

  it("isn't followed once it has a record, nor to what is no caller", async () => {
    expect(await leafCaller(leaf(PUSH, NOP, NOP), pc, link)).toBeUndefined();
    expect(await leafCaller(leaf(), pc, TEXT + 64n + 4n)).toBeUndefined();
    expect(await leafCaller(leaf(), pc, link + 4n)).toBeUndefined();
    expect(await leafCaller(leaf(), pc, 0n)).toBeUndefined();
    expect(await leafCaller(leaf(), TEXT - 4n, link)).toBeUndefined();
  });

  it("adds its caller between it and the first record", async () => {
    const registers = { x29: at(0x3000), x30: link, pc, sp: at(0x2ff0), pstate: 5n };
    const words: Words = { 0x3000: 0n, 0x3008: TEXT + 0x304n };
    const start: Arm64State = { pc, fp: at(0x3000), interrupted: true, registers };
    expect(pcs(await unwind(OLD, words, start, leaf()))).toEqual(["!48", "90", "304"]);
    expect(pcs(await unwind(OLD, words, start, leaf(PUSH)))).toEqual(["!48", "304"]);
  });
});
