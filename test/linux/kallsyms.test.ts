import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PhysicalMemory } from "../../src/guest/memory.js";
import { AbsentError, FormatError } from "../../src/findings/errors.js";
import { AddressSpace } from "../../src/linux/address-space.js";
import { CachedMemory } from "../../src/guest/cached-memory.js";
import { readKallsyms } from "../../src/linux/kallsyms-find.js";
import { addressOf, decodeAddresses, expandNames } from "../../src/linux/kallsyms.js";
import { rounds } from "../shared.js";

/** Where the synthetic image begins, virtual; guest-physical zero. */
const IMAGE = 0xffff_ffff_8100_0000n;
const COUNT = 3000;

/** Memory of one piece, mapped from IMAGE on. */
function spaceOf(bytes: Uint8Array): AddressSpace {
  const memory: PhysicalMemory = {
    *ranges() {
      yield { start: 0, end: bytes.length, presence: "present" };
    },
    read(gpa, into) {
      const part = bytes.subarray(gpa, gpa + into.length);
      into.set(part);
      return part.length;
    },
    async *pieces() {},
  };
  return new AddressSpace(new CachedMemory(memory), {
    canonical: (va) => va,
    lookUp: (va) =>
      va >= IMAGE && va < IMAGE + BigInt(bytes.length) ? { gpa: Number(va - IMAGE) } : { unmapped: 12 },
  });
}

type Form = "absolute" | "base-relative" | "absolute-percpu" | "self-relative";

interface Synthetic {
  readonly bytes: Uint8Array;
  readonly symbols: ReadonlyMap<string, bigint>;
  /** Lines of VMCOREINFO that every kernel has. */
  readonly info: Map<string, string>;
  /** And those that name kallsyms. */
  readonly named: Map<string, string>;
}

/**
 * A kernel image with kallsyms as scripts/kallsyms.c lays them out: `old` has the addresses before the names, `new`
 * after the tokens; `align` is what its parts are aligned to.
 */
function image(form: Form, order: "old" | "new", align: 4 | 8, wideMarkers = false): Synthetic {
  const symbols = new Map<string, bigint>();
  const perCpu = form === "absolute-percpu" ? 10 : 0;
  for (let i = 0; i < COUNT; i += 1) {
    const name =
      i === perCpu
        ? "_stext"
        : i === COUNT - 5
          ? "swapper_pg_dir"
          : `symbol_${i}${"_long".repeat(i === 77 ? 40 : 0)}`;
    symbols.set(name, i < perCpu ? BigInt(i * 64) : IMAGE + BigInt((i - perCpu) * 48));
  }
  const out: number[] = Array.from({ length: 0x40000 }, (_, i) => (i * 7) & 0x3f);
  const pad = (): void => {
    while (out.length % align !== 0) out.push(0);
  };
  const u32 = (value: number): void => {
    out.push(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff);
  };
  const u64 = (value: bigint): void => {
    u32(Number(value & 0xffff_ffffn));
    u32(Number((value >> 32n) & 0xffff_ffffn));
  };
  const places = new Map<string, bigint>();
  const label = (name: string): void => {
    pad();
    places.set(name, IMAGE + BigInt(out.length));
  };
  const addresses = (): void => {
    label(form === "absolute" ? "kallsyms_addresses" : "kallsyms_offsets");
    for (const address of symbols.values()) {
      if (form === "absolute") u64(address);
      else if (form === "self-relative") u32(Number(address - (IMAGE + BigInt(out.length))) | 0);
      else if (form === "base-relative") u32(Number(address - IMAGE));
      else u32(address < IMAGE ? Number(address) : -1 - Number(address - IMAGE));
    }
    if (form === "base-relative" || form === "absolute-percpu") {
      while (out.length % 8 !== 0) out.push(0);
      label("kallsyms_relative_base");
      u64(IMAGE);
    }
  };
  if (order === "old") addresses();
  label("kallsyms_num_syms");
  u32(COUNT);
  label("kallsyms_names");
  const start = out.length;
  const markers: number[] = [];
  let index = 0;
  for (const name of symbols.keys()) {
    if (index % 256 === 0) markers.push(out.length - start);
    index += 1;
    // token 0x80 is "symbol_"; all others stand for themselves
    const text = `T${name}`.replace("symbol_", "\x80");
    if (text.length < 0x80) out.push(text.length);
    else out.push((text.length & 0x7f) | 0x80, text.length >> 7);
    for (const character of text) out.push(character.charCodeAt(0));
  }
  label("markers");
  for (const marker of markers) {
    u32(marker);
    if (wideMarkers) u32(0);
  }
  label("kallsyms_token_table");
  const tokens: number[] = [];
  const table = out.length;
  for (let token = 0; token < 256; token += 1) {
    tokens.push(out.length - table);
    const text =
      token === 0x80 ? "symbol_" : token < 0x21 || token > 0x7e ? `t${token}_` : String.fromCharCode(token);
    for (const character of text) out.push(character.charCodeAt(0));
    out.push(0);
  }
  label("kallsyms_token_index");
  for (const token of tokens) out.push(token & 0xff, token >> 8);
  if (order === "new") addresses();
  for (let i = 0; i < 8192; i += 1) out.push(0x55);
  const hexOf = (value: bigint): string => value.toString(16);
  const info = new Map(
    ["_stext", "swapper_pg_dir"].map((name) => [`SYMBOL(${name})`, hexOf(symbols.get(name) ?? 0n)]),
  );
  const named = new Map([...places].map(([name, place]) => [`SYMBOL(${name})`, hexOf(place)]));
  return { bytes: Uint8Array.from(out), symbols, info, named };
}

const LAYOUTS = [
  ["absolute", "old", 8, true],
  ["absolute-percpu", "old", 8, false],
  ["base-relative", "old", 8, false],
  ["absolute-percpu", "new", 8, false],
  ["base-relative", "new", 8, false],
  ["self-relative", "new", 4, false],
] as const;

describe.each(LAYOUTS)("kallsyms with %s addresses, %s order, aligned to %i", (form, order, align, wide) => {
  const made = image(form, order, align, wide);

  it.each([true, false])("are decoded whole (named by VMCOREINFO: %s)", async (named) => {
    const info = new Map([...made.info, ...(named ? made.named : [])]);
    const found = await readKallsyms(spaceOf(made.bytes), info);
    expect(found.form).toBe(form);
    expect(found.named).toBe(named);
    const { table } = found;
    expect(Array.from(table, ({ name, address }) => [name, address])).toEqual([...made.symbols]);
    for (const [name, address] of made.symbols) expect(table.address(name)).toBe(address);
    expect(table.address("no_such_symbol")).toBeUndefined();
    const at = made.symbols.get("symbol_1000") ?? 0n;
    expect(table.place(at + 5n)).toEqual({ name: "symbol_1000", offset: 5, size: 48 });
  });
});

describe("kallsyms that are damaged", () => {
  const made = image("base-relative", "new", 8);
  const info = new Map([...made.info, ...made.named]);

  it("never end in anything but a sentence", async () => {
    const from = Number(BigInt(`0x${made.named.get("SYMBOL(kallsyms_num_syms)")}`) - IMAGE);
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(fc.integer({ min: from, max: made.bytes.length - 1 }), fc.integer({ min: 0, max: 255 })),
          {
            minLength: 1,
            maxLength: 20,
          },
        ),
        async (edits) => {
          const bytes = made.bytes.slice();
          for (const [at, value] of edits) bytes[at] = value;
          try {
            const { table } = await readKallsyms(spaceOf(bytes), info);
            for (const { name } of table) expect(name.length).toBeLessThan(1025);
            table.address("swapper_pg_dir");
            table.place(IMAGE + 100n);
          } catch (error) {
            expect(error instanceof FormatError || error instanceof AbsentError).toBe(true);
          }
        },
      ),
      { numRuns: rounds(100) },
    );
  }, 60_000);

  it("cut anywhere say so", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0x40000, max: made.bytes.length - 9000 }), async (end) => {
        const reading = readKallsyms(spaceOf(made.bytes.subarray(0, end)), info);
        await expect(reading).rejects.toSatisfy((e) => e instanceof FormatError || e instanceof AbsentError);
      }),
      { numRuns: rounds(50) },
    );
  }, 60_000);

  it("with tokens beyond the table are refused", () => {
    const tokenIndex = new Uint8Array(512).fill(0xff);
    expect(() =>
      expandNames({ count: 1, names: Uint8Array.of(1, 1), tokenTable: new Uint8Array(10), tokenIndex }),
    ).toThrow(/beyond the table/);
  });

  it("that announce 2^32 symbols cost no memory", () => {
    const tokenIndex = new Uint8Array(512);
    expect(() =>
      expandNames({
        count: 0xffff_ffff,
        names: new Uint8Array(100),
        tokenTable: new Uint8Array(10),
        tokenIndex,
      }),
    ).toThrow(/announces 4294967295 symbols/);
  });

  it("made of one name a hundred thousand times are searched in no time", () => {
    const count = 100_000;
    const names = new Uint8Array(2 * count).map((_, i) => (i % 2 === 0 ? 1 : 0));
    const tokenTable = Uint8Array.of(0x74, 0x61, 0);
    const decoded = expandNames({ count, names, tokenTable, tokenIndex: new Uint8Array(512) });
    expect(decoded.text.length).toBe(count);
  });
});

describe("addresses", () => {
  it("decoded together are those decoded one by one", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 200 }),
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        fc.constantFrom("absolute", "base-relative", "absolute-percpu", "self-relative"),
        (bytes, base, form) => {
          const table = { bytes, place: base, base };
          const all = decodeAddresses(table, form, 1000);
          expect([...all]).toEqual(Array.from(all, (_, i) => addressOf(table, form, i)));
        },
      ),
    );
  });
});
