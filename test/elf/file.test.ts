import * as zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { ElfFile } from "../../src/elf/file.js";
import {
  elfLayouts,
  PT_LOAD,
  PT_NOTE,
  SHF_COMPRESSED,
  SHT_STRTAB,
  SHT_SYMTAB,
} from "../../src/elf/layout.js";
import { encodeNote, readNotes } from "../../src/elf/notes.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { GuestscopeError } from "../../src/findings/errors.js";
import { buildElf } from "./elf-writer.js";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const open = (bytes: Uint8Array): Promise<ElfFile> => ElfFile.open(bytesSource(bytes, "file"));

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

describe("ELF files", () => {
  for (const [bits, order] of [
    [64, "little"],
    [64, "big"],
    [32, "little"],
    [32, "big"],
  ] as const) {
    const { sym } = elfLayouts(bits);
    const symbol = (st_name: number, st_value: bigint, binding: number, st_shndx = 1): Uint8Array =>
      sym.encode(
        { st_name, st_value, st_size: 8, st_info: (binding << 4) | 1, st_other: 0, st_shndx },
        order,
      );
    const whole = buildElf({
      bits,
      order,
      type: 3,
      entry: 0x1234n,
      segments: [
        { type: PT_NOTE, data: encodeNote("GNU", 3, Uint8Array.of(0xab, 1, 2), order), vaddr: 0x200n },
        { type: PT_LOAD, data: text("contents"), vaddr: 0x1000n, memsz: 4096 },
      ],
      sections: [
        { name: ".data", data: text("hello") },
        {
          name: ".symtab",
          type: SHT_SYMTAB,
          link: 3,
          data: concat(
            symbol(0, 0n, 0, 0),
            symbol(3, 5n, 0),
            symbol(1, 6n, 0),
            symbol(1, 7n, 1),
            symbol(4, 8n, 1, 0),
          ),
        },
        { name: ".strtab", type: SHT_STRTAB, data: text("\0a_name\0") },
        {
          name: ".gnu_debuglink",
          data: concat(
            text("x.debug\0"),
            order === "little" ? Uint8Array.of(4, 3, 2, 1) : Uint8Array.of(1, 2, 3, 4),
          ),
        },
        { name: ".gnu_debugaltlink", data: concat(text("alt\0"), Uint8Array.of(0xde, 0xad)) },
      ],
    });

    it(`${bits}-bit ${order} endian: headers, sections, symbols, notes, links`, async () => {
      const elf = await open(whole);
      expect([elf.bits, elf.order, elf.header.e_type, elf.header.e_entry]).toEqual([bits, order, 3, 0x1234n]);
      expect(elf.segments.at(1)).toMatchObject({
        p_type: PT_LOAD,
        p_vaddr: 0x1000n,
        p_filesz: 8,
        p_memsz: 4096,
      });
      expect([elf.segments.vaddr[1], elf.segments.memsz[1]]).toEqual([0x1000n, 4096]);
      const section = await elf.section(".data");
      expect(section && new TextDecoder().decode(await elf.sectionData(section))).toBe("hello");
      expect((await elf.symbol("a_name"))?.address).toBe(7n);
      expect((await elf.symbol("name"))?.address).toBe(5n);
      expect(await elf.symbol("ame")).toBeUndefined();
      expect(await elf.symbol("missing")).toBeUndefined();
      expect(await elf.buildId()).toBe("ab0102");
      expect(await elf.debugLink()).toEqual({ name: "x.debug", crc: 0x01020304 });
      expect(await elf.debugAltLink()).toEqual({ name: "alt", buildId: "dead" });
    });

    it(`${bits}-bit ${order} endian: every byte changed, cut anywhere`, async () => {
      const useAll = async (bytes: Uint8Array): Promise<void> => {
        try {
          const elf = await open(bytes);
          for (const look of [
            () => elf.notes(),
            () => elf.buildId(),
            () => elf.debugLink(),
            () => elf.debugAltLink(),
            () => elf.symbol("a_name"),
          ]) {
            try {
              await look();
            } catch (error) {
              if (!(error instanceof GuestscopeError)) throw error;
            }
          }
        } catch (error) {
          if (!(error instanceof GuestscopeError)) throw error;
          expect(error.place.source).toBe("file");
        }
      };
      for (let at = 0; at < whole.length; at += 1) {
        for (const value of [0, 0x80, 0xff]) {
          const damaged = whole.slice();
          damaged[at] = value;
          await useAll(damaged);
        }
        await useAll(whole.subarray(0, at));
      }
    });
  }

  it("names what is wrong with the start", async () => {
    await expect(open(text("not an ELF file at all"))).rejects.toMatchObject({ code: "elf/magic" });
    await expect(open(new Uint8Array(0))).rejects.toMatchObject({ code: "elf/magic" });
    const whole = buildElf({});
    await expect(open(whole.subarray(0, 30))).rejects.toMatchObject({ code: "elf/truncated", missing: 34 });
    const odd = whole.slice();
    odd[4] = 3;
    await expect(open(odd)).rejects.toMatchObject({
      code: "elf/ident",
      place: { source: "file", offset: 4 },
    });
  });
});

describe("compressed sections", () => {
  const contents = text("debug info ".repeat(500));
  const packed = new Uint8Array(zlib.deflateSync(contents));
  const chdr = (method: number, size: number): Uint8Array => {
    const bytes = new Uint8Array(24);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, method, true);
    view.setBigUint64(8, BigInt(size), true);
    return bytes;
  };
  const unpack = async (name: string, flags: bigint, data: Uint8Array): Promise<Uint8Array> => {
    const elf = await open(buildElf({ sections: [{ name, flags, data }] }));
    const section = await elf.section(name);
    if (section === undefined) throw new Error("the section is there");
    return elf.sectionData(section);
  };

  it("zlib, in both ways", async () => {
    expect(await unpack(".debug_x", SHF_COMPRESSED, concat(chdr(1, contents.length), packed))).toEqual(
      contents,
    );
    const size = new Uint8Array(8);
    new DataView(size.buffer).setBigUint64(0, BigInt(contents.length));
    expect(await unpack(".zdebug_x", 0n, concat(text("ZLIB"), size, packed))).toEqual(contents);
  });

  it("damage, unknown methods and absurd sizes are refused with the section's name", async () => {
    const place = { source: "file", record: "section .debug_x" };
    for (const data of [
      concat(chdr(1, contents.length - 1), packed),
      concat(chdr(1, contents.length + 1), packed),
      concat(chdr(1, contents.length), packed.subarray(0, 20)),
      concat(chdr(2, contents.length), packed),
      concat(chdr(9, contents.length), packed),
      concat(chdr(1, 2 ** 50), packed),
      chdr(1, 5).subarray(0, 10),
    ]) {
      await expect(unpack(".debug_x", SHF_COMPRESSED, data)).rejects.toMatchObject({
        code: "elf/section/compression",
        place,
      });
    }
  });
});

it("a section larger than memory is refused, though a sparse file has it all", async () => {
  const bytes = buildElf({ sections: [{ name: ".debug_x", data: new Uint8Array(64) }] });
  const { ehdr, shdr } = elfLayouts(64);
  const view = new DataView(bytes.buffer);
  const header = Number(view.getBigUint64(ehdr.offsetOf("e_shoff"), true)) + shdr.size;
  for (const size of [2 ** 30 + 1, 2 ** 40]) {
    view.setBigUint64(header + shdr.offsetOf("sh_size"), BigInt(size), true);
    const elf = await ElfFile.open({ ...bytesSource(bytes, "file"), size: 2 ** 45 });
    const [, section] = await elf.sections();
    if (section === undefined) throw new Error("the section is there");
    await expect(elf.sectionData(section)).rejects.toMatchObject({ code: "elf/size" });
  }
});

describe("notes", () => {
  it("what is written is read", () => {
    for (const order of ["little", "big"] as const) {
      const area = concat(
        encodeNote("CORE", 1, text("twelve byte"), order),
        encodeNote("VMCOREINFO", 0, text("odd"), order),
        encodeNote("", 7, new Uint8Array(0), order),
      );
      const notes = [...readNotes(area, order, { source: "file", offset: 100 })];
      expect(
        notes.map(({ name, type, descriptor }) => [name, type, new TextDecoder().decode(descriptor)]),
      ).toEqual([
        ["CORE", 1, "twelve byte"],
        ["VMCOREINFO", 0, "odd"],
        ["", 7, ""],
      ]);
      expect(notes.map(({ offset }) => offset)).toEqual([100, 132, 160]);
    }
  });

  it("a note that goes beyond the end", () => {
    const area = encodeNote("CORE", 1, text("twelve byte"), "little");
    expect(() => [...readNotes(area.subarray(0, 24), "little", { source: "file", offset: 8 })]).toThrow(
      expect.objectContaining({ code: "elf/note/size", place: expect.objectContaining({ offset: 8 }) }),
    );
    const cut = { source: "file", offset: 8, missing: 8 };
    expect(() => [...readNotes(area.subarray(0, 24), "little", cut)]).toThrow(
      expect.objectContaining({ code: "elf/truncated" }),
    );
  });
});
