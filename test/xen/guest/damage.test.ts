import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeAround } from "../../../src/guest/code.js";
import { memoryTotals } from "../../../src/guest/memory.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { FormatError, GuestscopeError, TruncatedError } from "../../../src/findings/errors.js";
import { openGuest } from "../../../src/open/open.js";
import {
  domainHeader,
  IMAGE_ID,
  IMAGE_MARKER,
  imageHeader,
  LIBXC_RECORD,
  recordHeader,
  tscInfo,
} from "../../../src/xen/libxc/layout.js";
import { saveCpu, saveDescriptor } from "../../../src/xen/hvm-context/layout.js";
import { fixtures, rounds } from "../../shared.js";
import { absentPages, pageSums } from "./model.js";

const record = (type: number, body: Uint8Array): Buffer =>
  Buffer.concat([
    recordHeader.encode({ type, bodyLength: body.length }, "little"),
    body,
    Buffer.alloc(-body.length & 7),
  ]);

const DATA = 0n;
const BROKEN = 0xdn;
const XALLOC = 0xen;
const XTAB = 0xfn;

/** A PAGE_DATA record; contents of each page are its letter. */
function pages(...entries: readonly (readonly [pfn: bigint, type: bigint, letter?: string])[]): Buffer {
  const head = Buffer.alloc(8 + entries.length * 8);
  head.writeUInt32LE(entries.length, 0);
  for (const [i, [pfn, type]] of entries.entries()) head.writeBigUInt64LE((type << 60n) | pfn, 8 + i * 8);
  const data = entries.flatMap(([, , letter]) => (letter === undefined ? [] : [Buffer.alloc(4096, letter)]));
  return record(LIBXC_RECORD.PAGE_DATA, Buffer.concat([head, ...data]));
}

const HEAD = Buffer.concat([
  imageHeader.encode(
    { marker: IMAGE_MARKER, id: IMAGE_ID, version: 3, options: 0, reserved1: 0, reserved2: 0 },
    "little",
  ),
  domainHeader.encode({ type: 2, pageShift: 12, reserved1: 0, xenMajor: 4, xenMinor: 17 }, "little"),
  record(LIBXC_RECORD.STATIC_DATA_END, Buffer.alloc(0)),
]);
const CONTEXT = record(
  LIBXC_RECORD.HVM_CONTEXT,
  Buffer.concat([
    saveDescriptor.encode({ typecode: 2, instance: 0, length: saveCpu.size }, "little"),
    Buffer.alloc(saveCpu.size, 0x11),
    saveDescriptor.encode({ typecode: 0, instance: 0, length: 0 }, "little"),
  ]),
);
const TSC = record(
  LIBXC_RECORD.X86_TSC_INFO,
  tscInfo.encode({ mode: 0, khz: 1, nsec: 2n ** 60n, incarnation: 0, reserved: 0 }, "little"),
);
const END = record(LIBXC_RECORD.END, Buffer.alloc(0));
const stream = (...records: readonly Uint8Array[]): Buffer => Buffer.concat([HEAD, ...records]);
const open = (bytes: Uint8Array, partial = false): ReturnType<typeof openGuest> =>
  openGuest(bytesSource(bytes), { partial });

describe("odd but good streams", () => {
  it("the last copy of a page counts, and kinds without contents keep their reasons", async () => {
    const guest = await open(
      stream(
        pages([0n, DATA, "a"], [1n, XTAB], [2n, BROKEN], [3n, XALLOC], [4n, XALLOC], [5n, DATA, "x"]),
        pages([4n, DATA, "b"], [0n, DATA, "c"], [5n, XTAB], [7n, DATA, "d"]),
        pages([7n, XALLOC]),
        TSC,
        CONTEXT,
        END,
      ),
    );
    const into = new Uint8Array(2);
    const first = async (pfn: number): Promise<string | undefined> =>
      (await guest.memory.read(pfn * 4096, into)) === 2 ? String.fromCharCode(into[0] ?? 0) : undefined;
    expect([await first(0), await first(4), await first(7)]).toEqual(["c", "b", "d"]);
    expect([await first(1), await first(2), await first(3), await first(5)]).toEqual([
      undefined,
      undefined,
      "\0",
      undefined,
    ]);
    expect(Object.fromEntries(absentPages(guest))).toEqual({
      "not populated (XTAB)": [1, 5],
      "broken page (BROKEN)": [2],
    });
    // only the broken page is lost
    expect(memoryTotals(guest.memory)).toEqual({ present: 3 * 4096, zero: 4096, absent: 4096 });
  });

  it("a pass for verification changes nothing", async () => {
    const verify = record(LIBXC_RECORD.VERIFY, Buffer.alloc(0));
    const guest = await open(stream(pages([0n, DATA, "a"]), verify, pages([0n, DATA, "b"]), CONTEXT, END));
    const into = new Uint8Array(1);
    await guest.memory.read(0, into);
    expect(into[0]).toBe(0x61);
  });

  it("a stream of checkpoints that breaks off is taken as of its last complete one", async () => {
    const checkpoint = record(LIBXC_RECORD.CHECKPOINT, Buffer.alloc(0));
    const whole = stream(
      pages([0n, DATA, "a"]),
      CONTEXT,
      checkpoint,
      pages([0n, DATA, "b"], [1n, DATA, "c"]),
    );
    const guest = await open(whole.subarray(0, whole.length - 100));
    expect(await pageSums(guest)).toEqual(
      new Map([[0, zlib.crc32(Buffer.alloc(4096, "a")).toString(16).padStart(8, "0")]]),
    );
    expect(guest.warnings.join()).toMatch(/last complete checkpoint/);
  });
});

describe("damaged streams", () => {
  const good = stream(pages([0n, DATA, "a"], [1n, DATA, "b"]), pages([2n, DATA, "c"]), CONTEXT, END);

  it("a stream cut anywhere is an error, or with partial what is whole and a list of what isn't", async () => {
    for (let size = 0; size < good.length; size += 37) {
      await expect(open(good.subarray(0, size))).rejects.toThrow(FormatError);
      if (size < HEAD.length) continue;
      const guest = await open(good.subarray(0, size), true);
      expect(guest.warnings.join()).toMatch(/incomplete/);
      const sums = await pageSums(guest);
      const lost = [...absentPages(guest).values()].flat();
      const announced = size < HEAD.length + 32 ? 0 : size < HEAD.length + 32 + 8192 + 24 ? 2 : 3;
      expect(sums.size + lost.length).toBe(announced);
    }
  });

  it("say where and which rule", async () => {
    const cut = await open(good.subarray(0, good.length - 9)).catch((error: unknown) => error);
    expect(cut).toBeInstanceOf(FormatError);
    expect(cut instanceof FormatError && cut.code).toBe("xen/stream/truncated");
    expect(cut instanceof TruncatedError || cut instanceof FormatError).toBe(true);
    for (const [bytes, code] of [
      [stream(pages([2n ** 41n, DATA, "a"]), END), "libxc/page-data/beyond-p2m"],
      [stream(pages([1n, 6n]), END), "libxc/page-data/reserved-type"],
      [stream(pages([1n, DATA]), END), "libxc/page-data/length"],
      [stream(record(LIBXC_RECORD.PAGE_DATA, Buffer.alloc(4)), END), "libxc/page-data/short"],
      [
        stream(record(LIBXC_RECORD.PAGE_DATA, Buffer.alloc(8, 0xff)), END),
        "libxc/page-data/count-beyond-body",
      ],
      [stream(record(0x77, Buffer.alloc(8)), END), "libxc/record/unknown-mandatory"],
    ] as const) {
      const error = await open(bytes).catch((thrown: unknown) => thrown);
      expect(error instanceof FormatError ? error.code : error).toBe(code);
      expect(error instanceof FormatError && error.place.offset).toBeTypeOf("number");
    }
  });

  it("a malformed batch of pages is an error, or with partial that batch alone is absent", async () => {
    const short = pages([1n, DATA, "b"], [2n, DATA], [3n, DATA, "d"]);
    const bytes = stream(pages([0n, DATA, "a"]), short, pages([4n, DATA, "e"]), TSC, CONTEXT, END);
    await expect(open(bytes)).rejects.toMatchObject({ code: "libxc/page-data/length" });
    const guest = await open(bytes, true);
    expect(guest.warnings.join()).toMatch(/contents for 3 pages.*left out/);
    const letters = [];
    for (let pfn = 0; pfn < 5; pfn += 1) {
      const page = Buffer.alloc(4096);
      letters.push(
        (await guest.memory.read(pfn * 4096, page)) === 4096 ? page.toString("latin1", 0, 1) : "-",
      );
    }
    // which of the three entries lacks its contents is unknown: all are absent
    expect(letters.join("")).toBe("a---e");
    expect(guest.vcpus).toHaveLength(1);
  });

  it("a repeated pfn, pfns beyond any machine and nonsense vCPU state don't crash the reader", async () => {
    const twice = await open(stream(pages([3n, DATA, "a"], [3n, DATA, "b"]), CONTEXT, END));
    expect(twice.warnings.join()).toMatch(/pfn 0x3 twice/);
    const far = await open(stream(pages([2n ** 51n, DATA, "a"], [1n, DATA, "b"]), CONTEXT, END), true);
    expect([...(await pageSums(far)).keys()]).toEqual([1]);
    expect(far.warnings.join()).toMatch(/beyond any machine/);
    const without = await open(stream(pages([0n, DATA, "a"]), END));
    expect(without.warnings.join()).toMatch(/no vCPU state/);
  });

  it("bytes changed at random: an error of ours or a guest that can be walked", async () => {
    const legacy = path.join(fixtures, "demo");
    const samples = [good, ...(fs.existsSync(legacy) ? gunzipped(legacy) : [])];
    const change = fc.record({ at: fc.nat(), to: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...samples),
        fc.array(change, { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        async (sample, changes, partial) => {
          const bytes = Buffer.from(sample);
          // headers are where damage hurts: most changes go there
          for (const { at, to } of changes) bytes[at % (at % 3 === 0 ? bytes.length : 400)] = to;
          try {
            const guest = await open(bytes, partial);
            await pageSums(guest);
            for (const { registers } of guest.vcpus)
              if (registers?.kind === "x86") await codeAround(guest.memory, registers);
            await guest.close?.();
          } catch (error) {
            if (!(error instanceof GuestscopeError)) throw error;
          }
        },
      ),
      { numRuns: rounds(400) },
    );
  });
});

/** Samples of at most 1 MiB among a folder's .gz files. */
function gunzipped(folder: string): Buffer[] {
  return fs
    .readdirSync(folder)
    .filter((name) => name.endsWith(".gz"))
    .map((name) => zlib.gunzipSync(fs.readFileSync(path.join(folder, name))))
    .filter((bytes) => bytes.length <= 1 << 20);
}
