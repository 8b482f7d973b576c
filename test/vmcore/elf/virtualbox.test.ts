import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EM_X86_64, ehdr64, elfLayouts, ET_CORE, PT_LOAD, PT_NOTE } from "../../../src/elf/layout.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { elfVmcore } from "../../../src/vmcore/elf/format.js";

/** A note as VirtualBox writes it: the name's size is without its NUL. */
function note(name: string, type: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(20 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length, true);
  view.setUint32(4, body.length, true);
  view.setUint32(8, type, true);
  bytes.set(new TextEncoder().encode(name), 12);
  bytes.set(body, 20);
  return bytes;
}

/** DBGFCORECPU: 18 registers, 6 segments, control, debug, tables, 2 segments, MSRs; every field has a value of its own. */
function cpu(id: number): Uint8Array {
  const bytes = new Uint8Array(2048);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const u64 = (value: number): void => {
    view.setBigUint64(at, BigInt(value) + BigInt(id) * 0x1_0000_0000n, true);
    at += 8;
  };
  const segment = (value: number): void => {
    view.setBigUint64(at, BigInt(value), true);
    view.setUint32(at + 8, 0xffff_ffff, true);
    view.setUint32(at + 12, 0xa09b, true);
    view.setUint16(at + 16, value & 0xff, true);
    at += 24;
  };
  for (let i = 0; i < 18; i += 1) u64(0x1000 + i);
  for (let i = 0; i < 6; i += 1) segment(0x2010 + i * 8);
  for (const value of [0x8005_0033, 0x3002, 0x3003, 0x3004]) u64(value);
  for (let i = 0; i < 8; i += 1) u64(0x4000 + i);
  for (const base of [0x5000, 0x5100]) {
    u64(base);
    view.setUint32(at, 127, true);
    at += 8;
  }
  segment(0x2060);
  segment(0x2068);
  for (let i = 0; i < 13; i += 1) u64(0x6000 + i);
  return bytes;
}

function core(options: { readonly format?: number; readonly magic?: number } = {}): Uint8Array {
  const head = new Uint8Array(24);
  const words = [options.magic ?? 0xc01ac0de, options.format ?? 0x1_0006, 24, 0x0700_000e, 161095, 2];
  for (const [i, word] of words.entries()) new DataView(head.buffer).setUint32(i * 4, word, true);
  const notes = Buffer.concat([
    note("VBCORE", 0xb00, head),
    note("VBCPU", 0xb01, cpu(0)),
    note("VBCPU", 0xb01, cpu(1)),
  ]);
  const { phdr } = elfLayouts(64);
  // RAM, a device without contents, RAM
  const loads = [
    [0, 0x4000, 0x4000],
    [0xe000_0000, 0, 0x100_0000],
    [0x1_0000_0000, 0x2000, 0x2000],
  ] as const;
  const notesAt = ehdr64.size + phdr.size * 4;
  const bytes = new Uint8Array(notesAt + notes.length + 0x6000);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 0]);
  view.setUint16(ehdr64.offsetOf("e_type"), ET_CORE, true);
  view.setUint16(ehdr64.offsetOf("e_machine"), EM_X86_64, true);
  view.setUint32(ehdr64.offsetOf("e_version"), 1, true);
  view.setBigUint64(ehdr64.offsetOf("e_phoff"), BigInt(ehdr64.size), true);
  view.setUint16(ehdr64.offsetOf("e_phentsize"), phdr.size, true);
  view.setUint16(ehdr64.offsetOf("e_phnum"), 4, true);
  const header = (
    i: number,
    type: number,
    offset: number,
    physical: number,
    size: number,
    memory: number,
  ): void => {
    const at = ehdr64.size + i * phdr.size;
    view.setUint32(at + phdr.offsetOf("p_type"), type, true);
    for (const [name, value] of [
      ["p_offset", offset],
      ["p_paddr", physical],
      ["p_filesz", size],
      ["p_memsz", memory],
    ] as const)
      view.setBigUint64(at + phdr.offsetOf(name), BigInt(value), true);
  };
  header(0, PT_NOTE, notesAt, 0, notes.length, notes.length);
  let offset = notesAt + notes.length;
  for (const [i, [physical, size, memory]] of loads.entries()) {
    header(i + 1, PT_LOAD, offset, physical, size, memory);
    bytes.fill(i + 1, offset, offset + size);
    offset += size;
  }
  bytes.set(notes, notesAt);
  return bytes;
}

const open = (bytes: Uint8Array): Promise<GuestImage> =>
  elfVmcore.reader.openGuest(bytesSource(bytes, "vm.core"), {});

describe("cores of VirtualBox", () => {
  it("have registers by VirtualBox's notes", async () => {
    const { vcpus, facts } = await open(core());
    expect(facts).toMatchObject({ origin: "VirtualBox core", hypervisor: "VirtualBox 7.0.14" });
    expect(vcpus.map(({ id }) => id)).toEqual([0, 1]);
    const registers = vcpus[1]?.registers;
    if (registers?.kind !== "x86") throw new Error("x86 registers");
    const high = 0x1_0000_0000n;
    expect(registers.general).toMatchObject({
      rax: high + 0x1000n,
      rip: high + 0x100en,
      rsp: high + 0x100fn,
      rflags: high + 0x1011n,
    });
    expect(registers.control).toMatchObject({
      cr2: high + 0x3002n,
      cr3: high + 0x3003n,
      xcr0: high + 0x600cn,
    });
    expect(registers.debug).toMatchObject({ dr0: high + 0x4000n, dr7: high + 0x4007n });
    // present, code, long mode, of 4 KiB: as in a descriptor's high word
    expect(registers.segments.cs).toEqual({
      selector: 0x10,
      base: 0x2010n,
      limit: 0xffff_ffff,
      flags: 0xa0_9b00,
    });
    expect(registers.segments.tr?.base).toBe(0x2068n);
    expect([registers.gdt?.base, registers.idt?.limit]).toEqual([high + 0x5000n, 127]);
    expect(registers.msrs).toMatchObject({
      sysenter_cs: high + 0x6000n,
      efer: high + 0x6003n,
      kernel_gs_base: high + 0x6009n,
    });
  });

  it("have memory where RAM is, none where devices are", async () => {
    const { memory } = await open(core());
    expect([...memory.ranges()].map(({ start, end, presence }) => [start, end, presence])).toEqual([
      [0, 0x4000, "present"],
      [0x1_0000_0000, 0x1_0000_2000, "present"],
    ]);
    const page = new Uint8Array(1);
    expect([await memory.read(0x1_0000_1000, page), page[0]]).toEqual([1, 3]);
  });

  it("of another form have no registers, which is said", async () => {
    const { vcpus } = await open(core({ format: 0x1_0000 }));
    expect(vcpus).toHaveLength(2);
    for (const { registers, caveat } of vcpus) {
      expect(registers).toBeUndefined();
      expect(caveat).toMatch(/form that isn't read.*0x10000/);
    }
    expect((await open(core({ magic: 1 }))).facts.origin).toBe("ELF vmcore");
  });

  it("that are damaged cause no other error than ours", async () => {
    const whole = core();
    await fc.assert(
      fc.asyncProperty(
        fc.nat(whole.length - 0x6000),
        fc.nat(255),
        fc.nat(whole.length),
        async (at, value, end) => {
          const bytes = whole.slice(0, Math.max(64, end));
          if (at < bytes.length) bytes[at] = value;
          await open(bytes).catch((error: unknown) => {
            expect(error).toBeInstanceOf(GuestscopeError);
          });
        },
      ),
      { numRuns: 60 },
    );
  });
});
