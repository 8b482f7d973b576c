import type { AbsentReason } from "../../src/guest/absent.js";
import { because } from "./absent-reason.js";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memoryTotals } from "../../src/guest/memory.js";
import { FRAME_LIMIT } from "../../src/guest/page-index.js";
import { PageMap } from "../../src/guest/page-map.js";
import { type ByteSource, bytesSource } from "../../src/io/byte-source.js";
import { FormatError, TruncatedError } from "../../src/findings/errors.js";

const PAGE = 64;
const SOURCE = Uint8Array.from({ length: 40_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

/** Contents of a decoded page: all bytes the token's low byte, but the first, which counts tokens' high part. */
const decodedPage = (token: number): Uint8Array => {
  const page = new Uint8Array(PAGE).fill(token & 0xff);
  page[0] = token >> 8;
  return page;
};

/** The same interface kept as simply as can be. */
type Model = Map<number, Uint8Array | "zero" | `absent ${string}`>;

type Step =
  | { kind: "set"; first: number; count: number; offset: number }
  | { kind: "spaced"; first: number; count: number; offset: number; gap: number }
  | { kind: "zero"; first: number; count: number }
  | { kind: "remove"; first: number; count: number }
  | { kind: "absent"; first: number; count: number; reason: string }
  | { kind: "decoded"; first: number; count: number; token: number };

const first = fc.oneof(fc.nat(40), fc.integer({ min: 4080, max: 4110 }), fc.nat(20_000));
const count = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 300 }));
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("set" as const),
    first,
    count,
    offset: fc.nat(SOURCE.length - 300 * PAGE),
  }),
  fc.record({
    kind: fc.constant("spaced" as const),
    first,
    count,
    offset: fc.nat(SOURCE.length - 300 * (PAGE + 9)),
    gap: fc.nat(9),
  }),
  fc.record({ kind: fc.constant("zero" as const), first, count }),
  fc.record({ kind: fc.constant("remove" as const), first, count }),
  fc.record({ kind: fc.constant("absent" as const), first, count, reason: fc.constantFrom("a", "b") }),
  fc.record({ kind: fc.constant("decoded" as const), first, count, token: fc.nat(5000) }),
);

function apply(map: PageMap, model: Model, s: Step): void {
  for (let i = 0; i < s.count; i += 1) {
    const frame = s.first + i;
    if (s.kind === "remove") model.delete(frame);
    else if (s.kind === "zero") model.set(frame, "zero");
    else if (s.kind === "absent") model.set(frame, `absent ${s.reason}`);
    else if (s.kind === "decoded") model.set(frame, decodedPage(s.token + i));
    else {
      const at = s.offset + i * (s.kind === "spaced" ? PAGE + s.gap : PAGE);
      model.set(frame, SOURCE.slice(at, at + PAGE));
    }
  }
  if (s.kind === "set") map.set(s.first, s.count, s.offset);
  else if (s.kind === "spaced") map.setSpaced(s.first, s.count, s.offset, PAGE + s.gap);
  else if (s.kind === "zero") map.zero(s.first, s.count);
  else if (s.kind === "remove") map.remove(s.first, s.count);
  else if (s.kind === "absent") map.absent(s.first, s.count, because(s.reason));
  else map.decoded(s.first, s.count, s.token);
}

const decode = (token: number, into: Uint8Array): void => into.set(decodedPage(token));

/** The source answered by promises, as a Blob does. */
const slow: ByteSource = {
  ...bytesSource(SOURCE),
  read: (offset, into) => Promise.resolve(bytesSource(SOURCE).read(offset, into)),
};

function build(
  steps: readonly Step[],
  source: ByteSource = bytesSource(SOURCE),
): { map: PageMap; model: Model } {
  const map = new PageMap(source, { pageSize: PAGE, decode });
  const model: Model = new Map();
  for (const s of steps) apply(map, model, s);
  return { map, model };
}

/** The model's bytes from `gpa` on, up to what is not there. */
function modelRead(model: Model, gpa: number, length: number): Uint8Array {
  const out: number[] = [];
  for (let at = gpa; at < gpa + length; at += 1) {
    const page = model.get(Math.floor(at / PAGE));
    if (page === undefined || (typeof page === "string" && page !== "zero")) break;
    out.push(page === "zero" ? 0 : (page[at % PAGE] ?? 0));
  }
  return Uint8Array.from(out);
}

describe("page map", () => {
  it("ranges are the model's, joined where alike", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { map, model } = build(steps);
        const kinds = new Map<number, string>();
        let before: { end: number; kind: string } | undefined;
        for (const range of map.ranges()) {
          const kind = `${range.presence} ${range.reason?.text ?? ""}`;
          expect(before === undefined || before.end < range.start || before.kind !== kind).toBe(true);
          expect(before === undefined || before.end <= range.start).toBe(true);
          before = { end: range.end, kind };
          for (let at = range.start; at < range.end; at += PAGE) kinds.set(at / PAGE, kind.trim());
        }
        const wanted = new Map(
          [...model].map(([frame, page]) => [frame, typeof page === "string" ? page : "present"]),
        );
        expect([...kinds].sort(([a], [b]) => a - b)).toEqual([...wanted].sort(([a], [b]) => a - b));
      }),
    );
  });

  it.each([
    ["synchronous", bytesSource(SOURCE)],
    ["asynchronous", slow],
  ])("reads what the model reads (%s source)", async (_, source) => {
    const spot = fc.record({ gpa: fc.nat(25_000 * PAGE), near: fc.nat(), length: fc.nat(PAGE * 6) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.array(spot), async (steps, spots) => {
        const { map, model } = build(steps, source);
        for (const { gpa, near, length } of spots) {
          const target = steps[near % Math.max(1, steps.length)];
          const at = target === undefined ? gpa : target.first * PAGE + (gpa % (PAGE * 4));
          const into = new Uint8Array(length);
          const n = await map.read(at, into);
          expect(into.subarray(0, n)).toEqual(modelRead(model, at, length));
        }
      }),
    );
  });

  it.each([
    ["synchronous", bytesSource(SOURCE)],
    ["asynchronous", slow],
  ])("pieces hold all present and zero memory in order (%s source)", async (_, source) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.nat(3000),
        fc.nat(25_000 * PAGE),
        async (steps, start, span) => {
          const { map, model } = build(steps, source);
          let last = start;
          let total = 0;
          for await (const piece of map.pieces(start, start + span)) {
            expect(piece.gpa).toBeGreaterThanOrEqual(last);
            expect(piece.length).toBeGreaterThan(0);
            last = piece.gpa + piece.length;
            expect(last).toBeLessThanOrEqual(start + span);
            const bytes = piece.bytes ?? new Uint8Array(piece.length);
            expect(bytes.length).toBe(piece.length);
            expect(Buffer.compare(bytes, modelRead(model, piece.gpa, piece.length))).toBe(0);
            total += piece.length;
          }
          let wanted = 0;
          for (const [frame, page] of model) {
            if (typeof page === "string" && page !== "zero") continue;
            const from = Math.max(start, frame * PAGE);
            wanted += Math.max(0, Math.min(start + span, (frame + 1) * PAGE) - from);
          }
          expect(total).toBe(wanted);
        },
      ),
    );
  });

  it("says where each page is", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { map, model } = build(steps);
        for (const frame of [...model.keys(), 3, 4095, 4096, 1_000_000]) {
          const page = model.get(frame);
          const place = map.at(frame);
          if (page === undefined) expect(place.kind).toBe("nowhere");
          else if (typeof page !== "string") expect(["source", "decoded"]).toContain(place.kind);
          else if (place.kind === "zero" || place.kind === "absent")
            expect(`${place.kind} ${place.reason?.text ?? ""}`.trim()).toBe(page);
          else expect.unreachable();
        }
      }),
    );
  });

  it("distinguishes memory that the guest does not have from memory that is lost", () => {
    const GONE: AbsentReason = { kind: "unpopulated", text: "x" };
    const map = new PageMap(bytesSource(SOURCE), { pageSize: PAGE });
    map.absent(0, 2, because("x"));
    map.absent(2, 3, GONE);
    expect([...map.ranges()]).toEqual([
      { start: 0, end: 2 * PAGE, presence: "absent", reason: because("x") },
      { start: 2 * PAGE, end: 5 * PAGE, presence: "absent", reason: GONE },
    ]);
    expect(memoryTotals(map)).toEqual({ present: 0, zero: 0, absent: 2 * PAGE });
  });

  it("keeps single pages in any order, offsets beyond 4 GiB and 1 TiB", () => {
    const map = new PageMap({ name: "none", size: 0, read: () => 0 });
    const order = Array.from({ length: 10_000 }, (_, i) => (i * 7919) % 10_000);
    for (const [i, frame] of order.entries()) map.set(frame, 1, i * 2 ** 28 + 3);
    expect(order.every((frame, i) => (map.at(frame) as { offset?: number }).offset === i * 2 ** 28 + 3)).toBe(
      true,
    );
    expect(memoryTotals(map)).toEqual({ present: 10_000 * 4096, zero: 0, absent: 0 });
    map.zero(0, 10_000);
    expect([...map.ranges()]).toEqual([{ start: 0, end: 10_000 * 4096, presence: "zero" }]);
  });

  it("parts pieces at long runs of zeros and at 4 MiB, and takes short runs along", async () => {
    const source = bytesSource(new Uint8Array(12 << 20).fill(0x5a));
    const map = new PageMap(source);
    map.set(0, 2500, 11);
    map.zero(3, 2);
    map.zero(2500, 1500);
    map.set(4000, 1, 77);
    const shapes: [number, number, boolean][] = [];
    for await (const piece of map.pieces())
      shapes.push([piece.gpa / 4096, piece.length / 4096, piece.bytes === undefined]);
    expect(shapes).toEqual([
      [0, 1024, false],
      [1024, 1024, false],
      [2048, 452, false],
      [2500, 1024, true],
      [3524, 476, true],
      [4000, 1, false],
    ]);
  });

  it.each([0, 1, 3, 4, 6, 8, 13, 4095])(
    "gives pages with headers between them from byte %i of the source on, in words",
    async (first) => {
      const pages = 2100;
      const spacing = 4096 + 8;
      const bytes = new Uint8Array(first + pages * spacing).fill(0xee);
      const page = (i: number): Uint8Array => new Uint8Array(4096).fill(1 + (i % 200));
      for (let i = 0; i < pages; i += 1) bytes.set(page(i), first + i * spacing);
      const map = new PageMap(bytesSource(bytes));
      map.setSpaced(0, 2000, first, spacing);
      map.set(2000, 1, first + 2000 * spacing);
      let next = 0;
      for await (const piece of map.pieces()) {
        const contents = piece.bytes ?? new Uint8Array(0);
        expect(contents.byteOffset % 4).toBe(0);
        for (let at = 0; at < contents.length; at += 4096, next += 1)
          expect(Buffer.compare(contents.subarray(at, at + 4096), page(next))).toBe(0);
      }
      expect(next).toBe(2001);
    },
  );

  it("refuses frames beyond any machine", () => {
    const map = new PageMap(bytesSource(SOURCE));
    for (const frame of [FRAME_LIMIT, 2 ** 52, -1, Number.NaN])
      expect(() => map.absent(frame, 1, because("x"))).toThrow(FormatError);
    map.absent(FRAME_LIMIT - 1, 1, because("x"));
    expect([...map.ranges()]).toHaveLength(1);
  });

  it.each([
    [Number.NaN, PAGE],
    [0, Number.NaN],
    [Number.NaN, Number.NaN],
    [5, 3],
    [Number.NEGATIVE_INFINITY, 0],
    [2 ** 60, Number.POSITIVE_INFINITY],
  ])("from %d to %d there is nothing", async (start, end) => {
    const map = new PageMap(bytesSource(SOURCE), { pageSize: PAGE });
    map.set(0, 4, 0);
    for await (const piece of map.pieces(start, end)) expect(piece).toBeUndefined();
    if (start !== 0 && start !== 5) expect(await map.read(start, new Uint8Array(1))).toBe(0);
  });

  it("between two bytes there is none", async () => {
    const map = new PageMap(bytesSource(SOURCE), { pageSize: PAGE });
    map.set(0, 4, 0);
    expect(await map.read(0.5, new Uint8Array(1))).toBe(0);
    for await (const piece of map.pieces(0.5, 2.5)) expect([piece.gpa, piece.length]).toEqual([1, 1]);
  });

  it("a source that became shorter is an error, not zeros", async () => {
    const map = new PageMap(bytesSource(SOURCE), { pageSize: PAGE });
    map.set(0, 4, SOURCE.length - 2 * PAGE);
    const walk = async (): Promise<void> => {
      for await (const piece of map.pieces()) expect(piece.length).toBe(0);
    };
    await expect(walk()).rejects.toThrow(TruncatedError);
    expect(await map.read(0, new Uint8Array(4 * PAGE))).toBe(2 * PAGE);
  });
});
