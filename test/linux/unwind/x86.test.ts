import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AbsentError, FormatError } from "../../../src/findings/errors.js";
import type { OrcEntry } from "../../../src/linux/unwind/orc.js";
import { StackWalk } from "../../../src/linux/unwind/stack-walk.js";
import type { StackSpan } from "../../../src/linux/unwind/stacks.js";
import { isUser, type OrcLookUp, stepX86, type X86State } from "../../../src/linux/unwind/x86.js";
import { rounds } from "../../shared.js";

const TEXT = 0xffff_ffff_8100_0000n;
const STACK = 0xffff_c900_0000_0000n;
const SPANS: readonly StackSpan[] = [
  { kind: "task", low: STACK, high: STACK + 0x4000n },
  { kind: "irq", low: STACK + 0x10000n, high: STACK + 0x14000n },
];
const PC = TEXT + 0x1000n;

/** Stack memory of a few words, by distance from STACK; what isn't given is 0. */
function walkOf(words: Readonly<Record<number, bigint>>, spans = SPANS): StackWalk {
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
    spans,
  );
}

const always = (entry: Partial<OrcEntry>): OrcLookUp => ({
  find: async () => ({
    sp: "sp",
    spOffset: 8,
    bp: "undefined",
    bpOffset: 0,
    type: "call",
    signal: false,
    ...entry,
  }),
});
const state: X86State = { pc: PC, sp: STACK + 0x100n, bp: STACK + 0x200n, interrupted: false };
const keep = async (address: bigint): Promise<bigint> => address;
const step = (
  entry: Partial<OrcEntry>,
  stack: StackWalk,
  from = state,
  first = false,
): Promise<X86State | undefined> => stepX86(always(entry), stack, from, first, keep);

describe("steps of the ORC unwinder", () => {
  it("the caller's stack pointer from sp or bp, its bp kept, on the stack, or relative to bp", async () => {
    const words = { 0x138: 0xaan, 0x130: 0xbbn, 0x218: 0xccn, 0x1f8: 0xddn };
    expect(await step({ spOffset: 0x40 }, walkOf(words))).toEqual({
      pc: 0xaan,
      sp: STACK + 0x140n,
      bp: state.bp,
      interrupted: false,
    });
    expect(await step({ spOffset: 0x40, bp: "prevSp", bpOffset: -16 }, walkOf(words))).toMatchObject({
      bp: 0xbbn,
    });
    expect(await step({ sp: "bp", spOffset: 0x20, bp: "bp", bpOffset: -8 }, walkOf(words))).toMatchObject({
      pc: 0xccn,
      sp: STACK + 0x220n,
      bp: 0xddn,
    });
  });

  it("through a pointer on the stack onto another stack, with the offset before or after it", async () => {
    const words = { 0x10100: STACK + 0x300n, 0x10108: STACK + 0x400n, 0x300: 1n, 0x308: 2n, 0x3f8: 3n };
    const from = { ...state, sp: STACK + 0x10100n };
    expect(await step({ sp: "spIndirect", spOffset: 8 }, walkOf(words), from)).toMatchObject({
      pc: 1n,
      sp: STACK + 0x308n,
    });
    expect(await step({ sp: "spIndirect", spOffset: 8 }, walkOf(words), from, true)).toMatchObject({
      pc: 3n,
      sp: STACK + 0x400n,
    });
    const based = { ...from, bp: STACK + 0x10100n };
    expect(await step({ sp: "bpIndirect", spOffset: 8 }, walkOf(words), based)).toMatchObject({ pc: 3n });
  });

  it("through a register that an interrupt kept, and not without", async () => {
    const words = { 0x3f8: 7n };
    const known = { r10: STACK + 0x400n, rdi: 1n };
    expect(await step({ sp: "r10" }, walkOf(words), { ...state, known })).toMatchObject({ pc: 7n });
    await expect(step({ sp: "r13" }, walkOf(words), { ...state, known })).rejects.toThrow(/through r13/);
    await expect(step({ sp: "di" }, walkOf(words))).rejects.toThrow(/through rdi/);
  });

  it("all registers of an interrupt, then the processor's own part alone, which keeps the others", async () => {
    const registers: Record<number, bigint> = {};
    for (let i = 0; i < 21; i += 1) registers[0x140 + 8 * i] = BigInt(i);
    registers[0x140 + 8 * 16] = PC + 5n;
    registers[0x140 + 8 * 17] = 0x10n;
    registers[0x140 + 8 * 19] = STACK + 0x500n;
    const first = await step({ spOffset: 0x40, type: "regs", signal: true }, walkOf(registers));
    expect(first).toMatchObject({ pc: PC + 5n, sp: STACK + 0x500n, bp: 4n, interrupted: true });
    expect(first?.registers).toMatchObject({ r15: 0n, r10: 7n, orig_rax: 15n, cs: 0x10n });
    const frame = { 0x540: PC + 9n, 0x548: 0x10n, 0x558: STACK + 0x700n };
    const second = await step({ spOffset: 0x40, type: "partial", signal: true }, walkOf(frame), first);
    expect(second).toMatchObject({ pc: PC + 9n, sp: STACK + 0x700n, known: { r10: 7n } });
    expect(Object.keys(second?.registers ?? {})).toEqual(["rip", "cs", "rflags", "rsp", "ss"]);
  });

  it("ends at user mode and where the tables say so", async () => {
    const user = { rip: 0x401000n, cs: 0x33n };
    expect(await step({}, walkOf({}), { ...state, registers: user })).toBeUndefined();
    expect(await step({ type: "end" }, walkOf({}))).toBeUndefined();
    expect(isUser({ rip: PC, cs: 0xe033n })).toBe(false);
    expect(isUser({ rip: 0xffff_ffff_ff60_0400n, cs: 0x33n })).toBe(true);
  });

  it("leaves a call of address 0 by the return address that it pushed", async () => {
    const called = { ...state, pc: 0n, interrupted: true };
    const nowhere: OrcLookUp = { find: async () => undefined };
    expect(await stepX86(nowhere, walkOf({ 0x100: PC }), called, false, keep)).toMatchObject({
      pc: PC,
      sp: STACK + 0x108n,
    });
  });

  it("says why it can't go on", async () => {
    const nothing: OrcLookUp = { find: async () => undefined };
    const message = (promise: Promise<unknown>): Promise<string> =>
      promise.then(
        () => "went on",
        (error: unknown) =>
          error instanceof AbsentError || error instanceof FormatError
            ? `${error.code}: ${error.message}`
            : String(error),
      );
    expect(await message(stepX86(nothing, walkOf({}), state, false, keep))).toMatch(
      /^linux\/stack\/no-entry/,
    );
    expect(await message(step({ type: "undefined" }, walkOf({})))).toMatch(/^linux\/stack\/no-entry/);
    expect(await message(step({ sp: "undefined" }, walkOf({})))).toMatch(/^linux\/stack\/damaged-tables/);
    expect(await message(step({ type: "unknown" }, walkOf({})))).toMatch(/^linux\/stack\/damaged-tables/);
    expect(await message(step({ bp: "r10" }, walkOf({})))).toMatch(/^linux\/stack\/damaged-tables/);
    expect(await message(step({ spOffset: -8 }, walkOf({})))).toMatch(/^linux\/stack\/loop/);
    expect(await message(step({ spOffset: 0x7000 }, walkOf({})))).toMatch(
      /^linux\/stack\/left: .* none of the task's stacks/,
    );
    const gone = new StackWalk({ read: () => 0, whyUnreadable: async () => "nothing is mapped" }, SPANS);
    expect(await message(step({}, gone))).toBe(
      "linux/stack/memory: the stack ends at 0xffffc90000000100: nothing is mapped",
    );
  });

  it("enters each stack once", async () => {
    const stack = walkOf({});
    await stack.word(STACK);
    await stack.word(STACK + 0x10000n);
    await expect(stack.word(STACK)).rejects.toThrow(/on the task stack, which was left before$/);
  });

  it("with no stacks known, goes down a few times only", async () => {
    const stack = walkOf({}, []);
    for (let i = 0; i < 8; i += 1) stack.step(100n, 50n);
    expect(() => stack.step(100n, 50n)).toThrow(FormatError);
  });

  it("random entries over random stacks always end", async () => {
    const entry = fc.record({
      sp: fc.constantFrom(
        "sp" as const,
        "bp" as const,
        "spIndirect" as const,
        "bpIndirect" as const,
        "r10" as const,
      ),
      spOffset: fc.integer({ min: -64, max: 512 }).map((n) => n * 8),
      bp: fc.constantFrom("undefined" as const, "prevSp" as const, "bp" as const),
      bpOffset: fc.integer({ min: -4, max: 4 }).map((n) => n * 8),
      type: fc.constantFrom("call" as const, "regs" as const, "partial" as const),
      signal: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(entry, { minLength: 1, maxLength: 8 }),
        fc.infiniteStream(fc.nat(0x14000)),
        async (list, values) => {
          const stack = new StackWalk(
            {
              read(_, into) {
                const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
                for (let at = 0; at + 8 <= into.length; at += 8)
                  view.setBigUint64(at, STACK + BigInt(values.next().value ?? 0), true);
                return into.length;
              },
              whyUnreadable: async () => "",
            },
            SPANS,
          );
          let here: X86State | undefined = state;
          let steps = 0;
          const tables: OrcLookUp = { find: async () => list[steps % list.length] };
          try {
            while (here !== undefined && steps < 5000) {
              steps += 1;
              here = await stepX86(tables, stack, here, false, keep);
            }
          } catch (error) {
            expect(error instanceof AbsentError || error instanceof FormatError).toBe(true);
          }
          // two stacks of 16 KiB, each gone through once
          expect(steps).toBeLessThan(5000);
        },
      ),
      { numRuns: rounds(300) },
    );
  });
});
