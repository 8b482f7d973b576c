import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { formatLogRecord } from "../../../src/linux/log/format.js";
import { type LogRecord, logText } from "../../../src/linux/log/record.js";
import { all, machine, message, ringOptions } from "./arbitraries.js";
import { MadeKernel, makeIndexed, makeRing, type Message } from "./synthetic.js";

function expected(m: Message, { seq = true, caller = true }): Partial<LogRecord> {
  const isCpu = m.caller >= 0x8000_0000;
  return {
    tsNsec: m.tsNsec,
    level: m.level,
    facility: m.facility,
    flags: m.flags,
    text: m.text,
    ...(caller
      ? { caller: isCpu ? { kind: "cpu", id: m.caller - 0x8000_0000 } : { kind: "task", id: m.caller } }
      : {}),
    ...(m.subsystem === "" ? {} : { device: { subsystem: m.subsystem, device: m.device } }),
    ...(seq && m.text === "" ? { empty: true } : {}),
  };
}

describe("the ring buffer of Linux 5.10 and later", () => {
  it("gives the messages it still holds, in order, whatever the word size and byte order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { minLength: 1, maxLength: 200 }),
        machine,
        ringOptions,
        async (list, cpu, o) => {
          const { kernel, kept } = makeRing(list, { ...cpu, ...o });
          const { records, remarks } = await all(kernel.source());
          expect(remarks).toEqual([]);
          expect(records.map(({ seq }) => seq)).toEqual(
            kept.map((_, i) => BigInt(list.length - kept.length + i)),
          );
          expect(records.map((record) => ({ ...record, seq: undefined }))).toEqual(
            kept.map((m) => ({ ...expected(m, {}), seq: undefined })),
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  const plain = (text: string, seconds = 1): Message => ({
    text,
    tsNsec: BigInt(seconds) * 1_000_000_000n,
    level: 6,
    facility: 0,
    flags: 2,
    caller: 1,
    subsystem: "",
    device: "",
  });
  const options = { countBits: 4, sizeBits: 10, bits: 64, order: "little" } as const;
  const ids = (1n << 62n) - 16n;

  it("leaves out a record that was being written, and says so", async () => {
    const { kernel, descriptors } = makeRing(
      ["a", "b", "c"].map((t) => plain(t)),
      options,
    );
    kernel.long(descriptors + 2 * 24, ids + 2n);
    const { records, remarks } = await all(kernel.source());
    expect(records.map(({ text }) => text)).toEqual(["a", "c"]);
    expect(remarks).toEqual([expect.stringMatching(/^linux\/log\/unfinished: /)]);
  });

  it("says that a text is gone, and keeps what is known of its record", async () => {
    const { kernel, descriptors, text } = makeRing(
      ["a", "b", "c"].map((t) => plain(t)),
      options,
    );
    kernel.long(descriptors + 24 + 8, 1n);
    kernel.long(descriptors + 24 + 16, 1n);
    kernel.long(text + 16, 99n);
    const { records, remarks } = await all(kernel.source());
    expect(records.map((r) => formatLogRecord(r))).toEqual([undefined, undefined, "[    1.000000] c"]);
    expect(remarks).toEqual([
      "linux/log/overwritten: record 0: its text is gone",
      "linux/log/overwritten: record 1: its text's place holds another record's",
    ]);
  });

  it("gives the text that a block holds where more is announced", async () => {
    const { kernel, infos } = makeRing(
      ["abcdefgh", "b"].map((t) => plain(t)),
      options,
    );
    kernel.put(2, infos + 88 + 16, 500);
    const { records, remarks } = await all(kernel.source());
    expect(records.map(({ text }) => text)).toEqual(["abcdefgh", "b"]);
    expect(remarks).toEqual([
      "linux/log/truncated: record 0: 500 bytes of text are announced, its block has 8",
    ]);
  });

  it("reads the newest records of a ring that announces more than it can hold", async () => {
    const { kernel, head } = makeRing(
      ["a", "b", "c"].map((t) => plain(t)),
      options,
    );
    kernel.long(head + 32, 5n);
    const { records, remarks } = await all(kernel.source());
    expect(records.map(({ text }) => text)).toEqual(["a", "b", "c"]);
    expect(remarks[0]).toMatch(/^linux\/log\/damaged: the ring of 16 descriptors announces \d{19} records/);
  });

  it("says which records are in memory that is missing", async () => {
    const list = Array.from({ length: 512 }, (_, i) => plain(`message ${i}`));
    const { kernel, infos, kept } = makeRing(list, { ...options, countBits: 9, sizeBits: 14 });
    kernel.memory.missing.add((infos >> 12) + 3);
    const { records, remarks } = await all(kernel.source());
    const lost = kept.length - records.length;
    expect(lost).toBeGreaterThan(40);
    expect(lost).toBeLessThan(50);
    expect(remarks).toEqual([`linux/log/unreadable: ${lost} records are in memory that is not in the input`]);
  });

  it("throws where the ring itself is missing, damaged or not described", async () => {
    const fails = async (change: (made: ReturnType<typeof makeRing>) => void): Promise<string> => {
      const made = makeRing([plain("a")], options);
      change(made);
      return all(made.kernel.source()).then(
        () => "read",
        (error: unknown) =>
          error instanceof GuestscopeError ? `${error.code}: ${error.message}` : String(error),
      );
    };
    expect(await fails(({ kernel }) => kernel.memory.missing.add(0))).toMatch(
      /^linux\/log\/unreadable: `prb`/,
    );
    expect(await fails(({ kernel }) => kernel.memory.missing.add(1))).toMatch(
      /^linux\/log\/unreadable: the log's ring/,
    );
    expect(await fails(({ kernel, head }) => kernel.put(4, head, 27))).toMatch(
      /^linux\/log\/damaged: .* 2\^27 descriptors/,
    );
    expect(await fails(({ kernel, head }) => kernel.put(4, head, 20))).toMatch(
      /larger than the guest's memory$/,
    );
    expect(await fails(({ kernel }) => kernel.info.delete("SIZE(prb_desc)"))).toBe(
      "linux/log/unknown: VMCOREINFO has no SIZE(prb_desc)",
    );
    expect(await fails(({ kernel }) => kernel.info.set("SIZE(prb_desc)", "8"))).toMatch(/outside of them$/);
    expect(await fails(({ kernel }) => kernel.info.set("OFFSET(prb_desc_ring.head_id)", "900"))).toMatch(
      /outside of it$/,
    );
    expect(await fails(({ kernel }) => kernel.info.delete("SYMBOL(prb)"))).toMatch(
      /^linux\/log\/unknown: .*neither prb nor log_buf/,
    );
  });
});

const indexedOptions = fc.record({ size: fc.constantFrom(512, 1024, 4096), caller: fc.boolean() });

describe("the records of Linux 3.5 to 5.9", () => {
  it("gives the messages the buffer still holds, in order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { maxLength: 120 }),
        machine,
        indexedOptions,
        async (list, cpu, o) => {
          const { kernel, kept } = makeIndexed(list, { ...cpu, ...o });
          const { records, remarks } = await all(kernel.source());
          expect(remarks).toEqual([]);
          expect(records).toEqual(kept.map((m) => expected(m, { seq: false, caller: o.caller })));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("takes level and facility of Linux 3.5 from one number, and the older name of the structure", async () => {
    const m: Message = {
      text: "x",
      tsNsec: 5n,
      level: 0,
      facility: 0,
      flags: 0,
      caller: 0,
      subsystem: "",
      device: "",
    };
    const { kernel, buffer } = makeIndexed([m], { size: 512, bits: 64, order: "little", caller: false });
    for (const key of [
      "SIZE()",
      "OFFSET(.ts_nsec)",
      "OFFSET(.len)",
      "OFFSET(.text_len)",
      "OFFSET(.dict_len)",
    ]) {
      const old = key.replace("(", "(printk_log");
      kernel.info.set(key.replace("(", "(log"), kernel.info.get(old) ?? "");
      kernel.info.delete(old);
    }
    kernel.info.set("OSRELEASE", "3.5.0-17-generic");
    kernel.put(2, buffer + 14, (3 << 3) | 5);
    expect((await all(kernel.source())).records).toEqual([{ tsNsec: 5n, level: 5, facility: 3, text: "x" }]);
  });

  it("ends with a sentence at a record whose lengths can't be", async () => {
    const list = ["one", "two", "three"].map(
      (text): Message => ({
        text,
        tsNsec: 0n,
        level: 6,
        facility: 0,
        flags: 0,
        caller: 0,
        subsystem: "",
        device: "",
      }),
    );
    for (const length of [0, 7, 8, 16, 0xffff]) {
      const { kernel, buffer } = makeIndexed(list, { size: 512, bits: 64, order: "little", caller: false });
      kernel.put(2, buffer + 24 + 8, length);
      const { records, remarks } = await all(kernel.source());
      expect(records.map(({ text }) => text)).toEqual(["one"]);
      expect(remarks).toEqual([
        expect.stringMatching(/^linux\/log\/damaged: the record at 24 has \d+ bytes/),
      ]);
    }
  });
});

describe("the plain text of kernels before 3.5", () => {
  function made(text: string, size: number, release = "2.6.32-5-amd64"): MadeKernel {
    const kernel = new MadeKernel(0x8000, 64, "little");
    kernel.info.set("OSRELEASE", release);
    for (const [at, name] of ["log_buf", "log_buf_len", "log_end"].entries()) kernel.symbol(name, at * 16);
    kernel.pointer(0, 0x2000);
    kernel.put(4, 16, size);
    kernel.put(8, 32, text.length);
    for (const [at, character] of Array.from(text).entries())
      kernel.memory.bytes[0x2000 + (at % size)] = character.charCodeAt(0);
    return kernel;
  }

  it("splits lines into time, level and text", async () => {
    const text =
      "<5>[    0.000000] Linux version 2.6.32\n<4>no time\n<30>[   12.345678] daemon\nnothing known";
    const { records, remarks } = await all(made(text, 1024).source());
    expect(remarks).toEqual([]);
    expect(records).toEqual([
      { tsNsec: 0n, level: 5, facility: 0, text: "Linux version 2.6.32" },
      { level: 4, facility: 0, text: "no time" },
      { tsNsec: 12_345_678_000n, level: 6, facility: 3, text: "daemon" },
      { text: "nothing known" },
    ]);
    expect(formatLogRecord(records[2] ?? { text: "" })).toBe("[   12.345678] daemon");
  });

  it("begins with what is left of the oldest line where the ring went round", async () => {
    const text = Array.from(
      { length: 200 },
      (_, i) => `<6>[    0.${String(i).padStart(6, "0")}] line ${i}\n`,
    ).join("");
    const { records } = await all(made(text, 1024, "2.6.18-6-amd64").source());
    const lines = text.slice(-1024).split("\n").slice(0, -1);
    expect(records).toHaveLength(lines.length);
    expect(records[0]).toEqual({ text: lines[0] });
    expect(records.slice(1).map((r) => `<6>${formatLogRecord(r)}`)).toEqual(lines.slice(1));
  });
});

describe("text of messages", () => {
  it("is UTF-8 where it can be, and never obeyed by a terminal", () => {
    expect(logText(Buffer.from("naïve\tline\nnext"))).toBe("naïve\tline\nnext");
    expect(logText(Buffer.from("\x1b[31mred\r\0\x7f\u009b"))).toBe("\\x1b[31mred\\x0d\\x00\\x7f\\x9b");
    expect(logText(Uint8Array.of(0x41, 0xe9, 0x42))).toBe("A\\xe9B");
  });
});
