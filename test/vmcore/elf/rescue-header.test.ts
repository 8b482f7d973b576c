import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ByteOrder, viewOf } from "../../../src/binary/layout.js";
import { elfLayouts, PT_LOAD, PT_NOTE } from "../../../src/elf/layout.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { mayBeTable, readRawHeaders } from "../../../src/vmcore/elf/rescue-header.js";

const orders: readonly ByteOrder[] = ["little", "big"];

describe("headers of a damaged table", () => {
  it("are read as their bytes say, in each class and byte order", async () => {
    const table = fc.tuple(
      fc.constantFrom(64 as const, 32 as const),
      fc.constantFrom(...orders),
      fc.uint8Array({ minLength: 0, maxLength: 400 }),
      fc.array(fc.constantFrom(0, PT_LOAD, PT_NOTE, 7), { maxLength: 7 }),
    );
    await fc.assert(
      fc.asyncProperty(table, async ([bits, order, bytes, types]) => {
        const { phdr } = elfLayouts(bits);
        const little = order === "little";
        const view = viewOf(bytes);
        for (const [i, type] of types.entries())
          if (i * phdr.size + 4 <= bytes.length) view.setUint32(i * phdr.size, type, little);
        const place = { bits, order, at: 0, count: undefined };
        const rows = await readRawHeaders(bytesSource(bytes), place, 5);
        expect(rows.length).toBe(Math.min(5, Math.floor(bytes.length / phdr.size)));
        for (const row of rows) {
          const from = row.index * phdr.size;
          const word = (field: "p_offset" | "p_filesz" | "p_memsz" | "p_vaddr" | "p_paddr"): bigint => {
            const at = from + phdr.offsetOf(field);
            return bits === 64 ? view.getBigUint64(at, little) : BigInt(view.getUint32(at, little));
          };
          expect(row).toEqual({
            index: row.index,
            type: view.getUint32(from, little),
            offset: Number(word("p_offset")),
            fileSize: Number(word("p_filesz")),
            memorySize: Number(word("p_memsz")),
            virtual: word("p_vaddr"),
            physical: word("p_paddr"),
            isBlank: bytes.subarray(from, from + phdr.size).every((byte) => byte === 0),
          });
        }
        const named = await readRawHeaders(bytesSource(bytes), place, 5, true);
        expect(named).toEqual(rows.filter(({ type }) => type === PT_LOAD || type === PT_NOTE));
      }),
    );
  });

  const COUNT = 1000;
  const place = { bits: 32, order: "little", at: 52, count: undefined } as const;
  const { phdr } = elfLayouts(32);

  /** A file of a table with one page of contents for each header, the first of which begins at an offset. */
  function file(first: number): Uint8Array {
    const bytes = new Uint8Array(place.at + COUNT * phdr.size + COUNT * 16);
    const view = viewOf(bytes);
    for (let i = 0; i < COUNT; i += 1) {
      const from = place.at + i * phdr.size;
      view.setUint32(from, PT_LOAD, true);
      view.setUint32(from + phdr.offsetOf("p_offset"), first + i * 16, true);
      view.setUint32(from + phdr.offsetOf("p_filesz"), 16, true);
      view.setUint32(from + phdr.offsetOf("p_memsz"), 16, true);
    }
    return bytes;
  }

  it("may be a table where contents are in the file, all of it or what is left of a cut one", async () => {
    const bytes = file(place.at + COUNT * phdr.size);
    expect(await mayBeTable(bytesSource(bytes), place, COUNT)).toBe(true);
    const cut = bytes.subarray(0, place.at + COUNT * phdr.size + 100);
    expect(await mayBeTable(bytesSource(cut), place, COUNT)).toBe(true);
  });

  it("are none where all contents would be beyond the file", async () => {
    const bytes = file(0x4000_0000);
    expect(await mayBeTable(bytesSource(bytes), place, COUNT)).toBe(false);
  });
});
