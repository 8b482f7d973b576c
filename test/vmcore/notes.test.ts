import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AARCH64, AARCH64_BE } from "../../src/guest/arch/arm.js";
import type { Architecture } from "../../src/guest/arch/architecture.js";
import { I386, X86_64 } from "../../src/guest/arch/x86.js";
import { type Vcpu, X86_GENERAL, type X86Registers } from "../../src/guest/vcpu.js";
import { decodeVcpus, encodeQemu, type RawNote } from "../../src/vmcore/notes.js";
import {
  PRSTATUS_AARCH64,
  PRSTATUS_ARM,
  PRSTATUS_I386,
  PRSTATUS_PPC64,
  PRSTATUS_S390X,
  PRSTATUS_X86_64,
} from "../../src/elf/prstatus.js";
import { encodePrstatus } from "../../src/vmcore/prstatus.js";

const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const u32 = fc.nat(0xffff_ffff);

const segment = fc.record({
  selector: fc.nat(0xffff),
  base: u64,
  limit: u32,
  flags: u32,
});
const table = fc.record({ base: u64, limit: u32 });

const x86: fc.Arbitrary<X86Registers> = fc.record({
  kind: fc.constant("x86" as const),
  general: fc.record(Object.fromEntries(X86_GENERAL.map((name) => [name, u64]))) as fc.Arbitrary<
    X86Registers["general"]
  >,
  segments: fc.record({
    cs: segment,
    ds: segment,
    es: segment,
    fs: segment,
    gs: segment,
    ss: segment,
    ldt: segment,
    tr: segment,
  }),
  gdt: table,
  idt: table,
  control: fc.record({ cr0: u64, cr2: u64, cr3: u64, cr4: u64 }),
  debug: fc.constant({}),
  msrs: fc.record({ kernel_gs_base: u64 }),
});

const notesOf = (vcpus: readonly Vcpu[], arch: Architecture): RawNote[] => [
  ...vcpus.flatMap((vcpu) => {
    const descriptor = encodePrstatus(vcpu, arch);
    return descriptor === undefined ? [] : [{ name: "CORE", type: 1, descriptor }];
  }),
  ...vcpus.flatMap(({ registers }) =>
    registers?.kind === "x86" ? [{ name: "QEMU", type: 0, descriptor: encodeQemu(registers) }] : [],
  ),
];

describe("processor notes", () => {
  it("have the sizes that readers know", () => {
    expect(PRSTATUS_X86_64.size).toBe(336);
    expect(PRSTATUS_I386.size).toBe(144);
    expect(PRSTATUS_AARCH64.size).toBe(392);
    expect(PRSTATUS_ARM.size).toBe(148);
    expect(PRSTATUS_PPC64.size).toBe(504);
    expect(PRSTATUS_S390X.size).toBe(336);
    expect(PRSTATUS_X86_64.offsetOf("pr_pid")).toBe(32);
    expect(PRSTATUS_X86_64.offsetOf("r15")).toBe(112);
    expect(PRSTATUS_I386.offsetOf("pr_pid")).toBe(24);
    expect(PRSTATUS_I386.offsetOf("rbx")).toBe(72);
  });

  it("give x86 registers back", () => {
    fc.assert(
      fc.property(fc.array(x86, { minLength: 1, maxLength: 3 }), (all) => {
        const vcpus = all.map((registers, id): Vcpu => ({ id, registers }));
        const back = decodeVcpus(notesOf(vcpus, X86_64), X86_64);
        expect(back.map((vcpu) => vcpu.registers)).toEqual(all);
        expect(back.map((vcpu) => vcpu.id)).toEqual(vcpus.map((vcpu) => vcpu.id));
      }),
      { numRuns: 50 },
    );
  });

  it("give what NT_PRSTATUS alone holds", () => {
    fc.assert(
      fc.property(x86, (registers) => {
        const [note] = notesOf([{ id: 4, registers }], X86_64);
        const [back] = decodeVcpus(note === undefined ? [] : [note], X86_64);
        expect(back?.registers).toMatchObject({
          general: registers.general,
          segments: {},
          msrs: { fs_base: registers.segments.fs?.base, gs_base: registers.segments.gs?.base },
        });
        // the vCPU's number and the selectors survive a second round through the note kept as it was
        expect(back === undefined ? undefined : encodePrstatus(back, X86_64)).toEqual(note?.descriptor);
      }),
      { numRuns: 50 },
    );
  });

  it("keep the low halves for i386", () => {
    fc.assert(
      fc.property(x86, (registers) => {
        const [note] = notesOf([{ id: 0, registers }], I386);
        expect(note?.descriptor.length).toBe(144);
        const [back] = decodeVcpus(note === undefined ? [] : [note], I386);
        const low = X86_GENERAL.filter((name) => !/^r\d/.test(name));
        const got = back?.registers?.kind === "x86" ? back.registers.general : undefined;
        expect(low.map((name) => got?.[name])).toEqual(
          low.map((name) => BigInt.asUintN(32, registers.general[name])),
        );
      }),
      { numRuns: 50 },
    );
  });

  it.each([AARCH64, AARCH64_BE])("give aarch64 registers back, $order endian", (arch) => {
    const registers = fc.record({
      kind: fc.constant("aarch64" as const),
      x: fc.array(u64, { minLength: 31, maxLength: 31 }),
      sp: u64,
      pc: u64,
      pstate: u64,
      system: fc.constant({}),
    });
    fc.assert(
      fc.property(registers, (value) => {
        const back = decodeVcpus(notesOf([{ id: 0, registers: value }], arch), arch);
        expect(back[0]?.registers).toEqual(value);
      }),
      { numRuns: 20 },
    );
  });

  it("survive descriptors of any length", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), fc.uint8Array({ maxLength: 500 }), (a, b) => {
        const notes = [
          { name: "CORE", type: 1, descriptor: a },
          { name: "QEMU", type: 0, descriptor: b },
        ];
        for (const arch of [X86_64, I386, AARCH64]) expect(decodeVcpus(notes, arch)).toHaveLength(1);
      }),
    );
  });
});
