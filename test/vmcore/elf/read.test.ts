import { verifyAs } from "../../verify-as.js";
import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  EM_ARM,
  EM_PPC64,
  EM_S390,
  EM_X86_64,
  elfLayouts,
  ET_CORE,
  PN_XNUM,
  PT_LOAD,
  PT_NOTE,
} from "../../../src/elf/layout.js";
import { encodeNote } from "../../../src/elf/notes.js";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import type { MemoryRange } from "../../../src/guest/memory.js";
import { type ByteSource, bytesSource } from "../../../src/io/byte-source.js";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { openFile } from "../../../src/io/node/files.js";
import { openOutput } from "../../../src/io/node/output.js";
import { elfVmcore } from "../../../src/vmcore/elf/format.js";
import { type ElfVmcoreInspection } from "../../../src/vmcore/elf/inspect.js";
import { isVmcore } from "../../../src/vmcore/elf/detect.js";
import { elfWriter } from "../../../src/vmcore/elf/write.js";
import { kdump } from "../../../src/vmcore/kdump/format.js";
import { createKdumpWriter } from "../../../src/vmcore/kdump/write.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { differences, kdumpFolder, pagesOf, truthOf } from "../kdump/data.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");

function open(input: ByteSource): Promise<GuestImage> {
  return elfVmcore.reader.openGuest(input, {});
}

async function codes(input: ByteSource): Promise<string[]> {
  const report = new Report(input.name);
  await verifyAs(elfVmcore, input, report);
  return [...new Set(report.findings.map(({ code }) => code))];
}

interface Segment {
  readonly at: number;
  readonly virtual?: bigint;
  readonly bytes: Uint8Array;
  readonly memory?: number;
}

interface Form {
  readonly bits: 32 | 64;
  readonly order: "little" | "big";
  readonly machine: number;
  /** Count program headers in section 0. */
  readonly extended?: boolean;
}

/** An ELF core put together by hand. */
function elf(form: Form, segments: readonly Segment[], notes: Uint8Array = new Uint8Array(0)): Uint8Array {
  const { ehdr, phdr, shdr } = elfLayouts(form.bits);
  const count = segments.length + 1;
  const phoff = ehdr.size + (form.extended === true ? shdr.size : 0);
  let offset = phoff + count * phdr.size;
  const ident = new Uint8Array(16);
  ident.set([0x7f, 0x45, 0x4c, 0x46, form.bits / 32, form.order === "little" ? 1 : 2, 1]);
  const parts: Uint8Array[] = [
    ehdr.encode(
      {
        e_ident: ident,
        e_type: ET_CORE,
        e_machine: form.machine,
        e_version: 1,
        e_entry: 0n,
        e_phoff: phoff,
        e_shoff: form.extended === true ? ehdr.size : 0,
        e_flags: 0,
        e_ehsize: ehdr.size,
        e_phentsize: phdr.size,
        e_phnum: form.extended === true ? PN_XNUM : count,
        e_shentsize: shdr.size,
        e_shnum: form.extended === true ? 1 : 0,
        e_shstrndx: 0,
      },
      form.order,
    ),
  ];
  if (form.extended === true) {
    const zero = shdr.decode(new Uint8Array(shdr.size), form.order);
    parts.push(shdr.encode({ ...zero, sh_info: count }, form.order));
  }
  const header = (type: number, at: bigint, virtual: bigint, size: number, memory: number): Uint8Array => {
    const bytes = phdr.encode(
      {
        p_type: type,
        p_flags: 7,
        p_offset: offset,
        p_vaddr: virtual,
        p_paddr: at,
        p_filesz: size,
        p_memsz: memory,
        p_align: 0n,
      },
      form.order,
    );
    offset += size;
    return bytes;
  };
  parts.push(header(PT_NOTE, 0n, 0n, notes.length, notes.length));
  for (const { at, virtual, bytes, memory } of segments)
    parts.push(header(PT_LOAD, BigInt(at), virtual ?? BigInt(at), bytes.length, memory ?? bytes.length));
  return Uint8Array.from(Buffer.concat([...parts, notes, ...segments.map(({ bytes }) => bytes)]));
}

const filled = (size: number, value: number): Uint8Array => new Uint8Array(size).fill(value);
const X86: Form = { bits: 64, order: "little", machine: EM_X86_64 };

describe.skipIf(noData)("ELF dumps of QEMU", () => {
  for (const name of ["tiny-split", "tiny-split10", "linux"]) {
    it(`${name}: memory, processors and VMCOREINFO`, async () => {
      const file = openFile(unzstd(path.join(kdumpFolder, `${name}.elf.zst`), folder));
      const guest = await open(file);
      const kdump = { "tiny-split": "tiny-split.zlib.kdump", "tiny-split10": "tiny-split10.zlib.kdump" }[
        name
      ];
      const truth = truthOf(kdump ?? "linux.zlib-d31.kdump");
      const { pages } = await pagesOf(guest);
      const known = new Map([...truth].filter(([, crc]) => crc !== "-"));
      const ours = new Map([...pages].filter(([pfn]) => known.has(pfn)));
      expect(differences(ours, known)).toEqual([]);
      expect(pages.size).toBe(truth.size);
      expect(guest.vcpus.map((vcpu) => vcpu.registers?.kind)).toEqual(["x86", "x86"]);
      expect(guest.facts.vmcoreInfo?.text).toContain("OSRELEASE=");
      expect(await codes(file)).toEqual(["vmcore/elf/header-size"]);
      file.close();
    });
  }

  it("linux: VMCOREINFO comes out of the memory where a dump has no note of it", async () => {
    const packed = openFile(unzstd(path.join(kdumpFolder, "linux.elf.zst"), folder));
    const guest = await open(packed);
    const told = guest.facts.vmcoreInfo?.text;
    const { vmcoreInfo: _, ...facts } = guest.facts;
    const bare: GuestImage = { ...guest, facts };
    const unmanned: GuestImage = { ...bare, vcpus: [] };
    for (const [one, writer, reader, found] of [
      [bare, elfWriter, elfVmcore, true],
      [bare, createKdumpWriter(), kdump, true],
      [unmanned, elfWriter, elfVmcore, true],
      // without processors to ask, all pages would have to be unpacked
      [unmanned, createKdumpWriter(), kdump, false],
    ] as const) {
      const file = path.join(folder, "without-note");
      const sink = openOutput(file, { force: true });
      await writer.write(one, sink, {});
      sink.commit();
      const written = openFile(file);
      const again = await reader.reader.openGuest(written, {});
      expect(told).toContain("OSRELEASE=");
      expect(again?.facts.vmcoreInfo?.text).toBe(found ? told : undefined);
      expect(again?.facts.vmcoreInfo?.gpa !== undefined).toBe(found);
      written.close();
    }
    packed.close();
  });

  it("the references beside the process cores have the segments that were recorded", async () => {
    for (const name of ["tiny-pc", "tiny-split", "tiny-virtiomem", "v10-tiny-split"]) {
      const beside = path.join(sharedData, "qemu-core", name);
      const file = openFile(unzstd(path.join(beside, "ref.vmcore.zst"), folder, { name: `${name}.ref` }));
      const head = new Uint8Array(4096);
      await file.read(0, head);
      expect(isVmcore(head)).toBe(true);
      const guest = await open(file);
      const present = [...guest.memory.ranges()].reduce((sum, range) => sum + range.end - range.start, 0);
      const seen = (await elfVmcore.reader.inspect(file, {})) as ElfVmcoreInspection;
      expect(
        seen.details.segments.reduce((sum, { fileSize }) => sum + fileSize, 0),
        name,
      ).toBe(present);
      // pages of the pattern say where they are
      const page = new Uint8Array(64);
      const pattern = name === "tiny-split" || name === "v10-tiny-split" ? 0x1_0002_1000 : 0x20_1000;
      expect(await guest.memory.read(pattern, page)).toBe(64);
      const label = new TextDecoder().decode(page);
      expect(label).toContain(`gpa=${pattern.toString(16).padStart(16, "0")}`);
      file.close();
    }
  });

  it("cores of QEMU's process are not taken for vmcores", () => {
    for (const name of ["tiny-split", "tiny-gcore", "tiny-pagetrunc"]) {
      const core = unzstd(path.join(sharedData, "qemu-core", name, "core.zst"), folder, {
        name: `${name}.core`,
      });
      const head = new Uint8Array(4096);
      const fd = fs.openSync(core, "r");
      fs.readSync(fd, head);
      fs.closeSync(fd);
      expect(isVmcore(head), name).toBe(false);
    }
  });
});

describe("ELF vmcores", () => {
  it("are read in both widths and byte orders", async () => {
    const forms: readonly Form[] = [
      X86,
      { bits: 32, order: "little", machine: EM_ARM },
      { bits: 64, order: "big", machine: EM_PPC64 },
      { bits: 64, order: "big", machine: EM_S390 },
    ];
    for (const form of forms) {
      const file = elf(form, [
        { at: 0, bytes: filled(4096, 1) },
        { at: 0x10_0000, bytes: filled(8192, 2) },
      ]);
      expect(isVmcore(file)).toBe(true);
      const guest = await open(bytesSource(file));
      expect([...guest.memory.ranges()]).toEqual([
        { start: 0, end: 4096, presence: "present" },
        { start: 0x10_0000, end: 0x10_2000, presence: "present" },
      ]);
      const into = new Uint8Array(3);
      expect(await guest.memory.read(0x10_1ffe, into)).toBe(2);
      expect([...into]).toEqual([2, 2, 0]);
      expect(guest.arch.order).toBe(form.order);
      expect(guest.arch.bits).toBe(form.bits);
      expect(await codes(bytesSource(file))).toEqual([]);
    }
  });

  it("may have more program headers than e_phnum can count", async () => {
    const segments = Array.from({ length: 70_000 }, (_, i) => ({ at: i * 32, bytes: filled(16, i & 0xff) }));
    const file = elf({ ...X86, extended: true }, segments);
    const guest = await open(bytesSource(file));
    const into = new Uint8Array(16);
    expect(await guest.memory.read(69_999 * 32, into)).toBe(16);
    expect(into[3]).toBe(69_999 & 0xff);
    expect(await guest.memory.read(69_999 * 32 + 16, into)).toBe(0);
  });

  it("alias segments of the kernel's text are the same memory once", async () => {
    const file = elf(X86, [
      { at: 0x20_0000, virtual: 0xffff_ffff_8100_0000n, bytes: filled(4096, 7) },
      { at: 0, bytes: filled(4096, 1) },
      { at: 0x20_0000, bytes: filled(8192, 7) },
    ]);
    expect(isVmcore(file)).toBe(true);
    const guest = await open(bytesSource(file));
    expect([...guest.memory.ranges()].map(({ start, end }) => [start, end])).toEqual([
      [0, 4096],
      [0x20_0000, 0x20_2000],
    ]);
  });

  it("memory without contents is absent, with the reason", async () => {
    const LEFT_OUT = { kind: "excluded", text: "left out of the dump (p_filesz < p_memsz)" };
    const CUT = { kind: "truncated", text: "lost: the file ends before it" };
    const whole = elf(X86, [
      { at: 0x1000, bytes: filled(4096, 1), memory: 3 * 4096 },
      { at: 0x10_0000, bytes: filled(4 * 4096, 2) },
    ]);
    const cut = bytesSource(whole.subarray(0, -6000));
    const ranges: MemoryRange[] = [...(await open(cut)).memory.ranges()];
    expect(ranges).toEqual([
      { start: 0x1000, end: 0x2000, presence: "present" },
      { start: 0x2000, end: 0x4000, presence: "absent", reason: LEFT_OUT },
      { start: 0x10_0000, end: 0x10_2000, presence: "present" },
      { start: 0x10_2000, end: 0x10_4000, presence: "absent", reason: CUT },
    ]);
    expect(await codes(cut)).toEqual(["vmcore/elf/left-out", "vmcore/elf/truncated"]);
  });

  it("keep their processors and VMCOREINFO", async () => {
    const prstatus = new Uint8Array(336);
    new DataView(prstatus.buffer).setBigUint64(112 + 16 * 8, 0xffff_ffff_8100_1234n, true);
    const notes = Buffer.concat([
      encodeNote("CORE", 1, prstatus, "little"),
      encodeNote("VMCOREINFO", 0, Buffer.from("OSRELEASE=6.1.0\nPAGESIZE=4096\n"), "little"),
    ]);
    const guest = await open(
      bytesSource(elf(X86, [{ at: 0, bytes: filled(4096, 1) }], Uint8Array.from(notes))),
    );
    const registers = guest.vcpus[0]?.registers;
    expect(registers?.kind === "x86" && registers.general.rip).toBe(0xffff_ffff_8100_1234n);
    expect(guest.facts.vmcoreInfo?.text).toBe("OSRELEASE=6.1.0\nPAGESIZE=4096\n");
  });

  it("tell what makedumpfile erased", async () => {
    const notes = Buffer.concat([
      encodeNote("CORE", 1, new Uint8Array(336), "little"),
      encodeNote("ERASEINFO", 0, Buffer.from("erase jiffies size 8\nerase a.b size 65\n"), "little"),
    ]);
    const source = bytesSource(elf(X86, [{ at: 0, bytes: filled(4096, 1) }], Uint8Array.from(notes)));
    expect((await open(source)).warnings).toEqual([
      "its writer erased part of the memory: erase jiffies size 8",
      "its writer erased part of the memory: erase a.b size 65",
    ]);
    expect(await codes(source)).toEqual(["vmcore/elf/erased"]);
  });

  it("damage is met with findings and errors, nothing else", async () => {
    const notes = encodeNote("CORE", 1, new Uint8Array(336), "little");
    const file = elf(
      X86,
      [
        { at: 0, bytes: filled(4096, 1) },
        { at: 8192, bytes: filled(64, 2) },
      ],
      notes,
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(64 + 3 * 56 + 40), fc.nat(255)), { minLength: 1, maxLength: 5 }),
        fc.option(fc.nat(file.length)),
        async (changes, cut) => {
          const damaged = file.slice(0, cut ?? file.length);
          for (const [at, to] of changes) if (at < damaged.length) damaged[at] = to;
          isVmcore(damaged);
          await codes(bytesSource(damaged));
          try {
            const guest = await open(bytesSource(damaged));
            await guest.memory.read(0, new Uint8Array(100));
            expect([...guest.memory.ranges()].length).toBeLessThan(10);
          } catch (error) {
            expect(error).toBeInstanceOf(GuestscopeError);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
