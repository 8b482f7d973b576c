import { bytesSource } from "../src/io/byte-source.js";
import { GuestscopeError } from "../src/findings/errors.js";
import { compareAreas, compareFacts, compareMemory, compareRegisters } from "../src/guest/compare.js";
import { bytesPattern, regexPattern } from "../src/guest/pattern.js";
import { searchMemory, type SearchPiece } from "../src/guest/search.js";
import { findStrings } from "../src/guest/strings.js";
import { openGuest } from "../src/open/open.js";
import { sourceInput } from "../src/open/session/input.js";
import type { Method, Methods } from "../src/open/session/protocol.js";
import { Session } from "../src/open/session/session.js";
import { encodeWire } from "../src/open/session/wire.js";
import { attempt, type Outcome, Violation } from "./checks.js";
import type { Random } from "./random.js";
import { elfVmcores, type Inputs, kdumps, qemuStreams, xenStreams } from "./seeds.js";
import type { Target } from "./targets.js";

/** Targets that look into guests: search, comparison, the viewer's session. */

const MOST_HITS = 10_000;
/** Calls of a session without which the others can't be made. */
const NEEDED: ReadonlySet<Method> = new Set(["open", "memory", "close"]);
/** Guests (announced, not there) that aren't written out by a session. */
const LARGEST = 16 << 20;

/** Memory in pieces of odd sizes, with holes and pieces of zeros. */
function* oddPieces(memory: Uint8Array, random: Random): Generator<SearchPiece> {
  let address = 0x1000;
  for (let at = 0; at < memory.length; ) {
    const length = 1 + random.below(random.oneIn(3) ? 9 : 3000);
    const part = memory.subarray(at, at + length);
    const isZero = part.every((byte) => byte === 0);
    yield { address: BigInt(address), length: part.length, bytes: isZero ? undefined : part };
    at += part.length;
    address += part.length + (random.oneIn(8) ? 1 + random.below(5000) : 0);
  }
}

/** Where a pattern is, matches apart, by plain means. */
function plainHits(pieces: readonly SearchPiece[], pattern: Uint8Array): string[] {
  const hits: string[] = [];
  let run: Buffer = Buffer.alloc(0);
  let start = 0n;
  const flush = (): void => {
    for (let at = run.indexOf(pattern); at !== -1; at = run.indexOf(pattern, at + pattern.length))
      hits.push(String(start + BigInt(at)));
  };
  for (const { address, length, bytes } of pieces) {
    if (start + BigInt(run.length) !== address) {
      flush();
      run = Buffer.alloc(0);
      start = address;
    }
    run = Buffer.concat([run, bytes ?? new Uint8Array(length)]);
  }
  flush();
  return hits;
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  for (const item of items) yield item;
}

/** An input is a length, a pattern of that many bytes, and memory. */
export const search: Target = {
  name: "search",
  seeds: () => ({
    text: Uint8Array.from([4, ...Buffer.from("abab"), ...Buffer.from("xxabababab ababab".repeat(40))]),
    zeros: Uint8Array.from([3, 0, 0, 0, ...new Uint8Array(9000), 7, ...new Uint8Array(500)]),
  }),
  async run(bytes, random) {
    const length = 1 + ((bytes[0] ?? 0) % 32);
    const pattern = bytes.slice(1, 1 + length);
    if (pattern.length === 0) return "empty";
    const pieces = [...oddPieces(bytes.subarray(1 + length), random)];
    const found: string[] = [];
    await searchMemory(
      each(pieces),
      [bytesPattern("bytes", pattern)],
      ({ address, context, contextStart, length: n }) => {
        if (Buffer.compare(context.subarray(contextStart, contextStart + n), pattern) !== 0)
          throw new Violation(`the context of 0x${address.toString(16)} is not what was found`);
        found.push(String(address));
        return found.length < MOST_HITS;
      },
      { context: random.below(40) },
    );
    const expected = plainHits(pieces, pattern).slice(0, MOST_HITS);
    if (found.join() !== expected.join())
      throw new Violation(`found at ${found.slice(0, 9).join()}, is at ${expected.slice(0, 9).join()}`);
    let hits = 0;
    await searchMemory(each(pieces), [regexPattern("[a-z]{3,9}=?\\d*")], () => (hits += 1) < MOST_HITS);
    for await (const _ of findStrings(each(pieces), 4)) hits += 1;
    return `${Math.min(found.length, 8)} ${Math.min(hits, 8)}`;
  },
};

const smallGuests = async (): Promise<Inputs> => ({
  ...first(xenStreams(), 2),
  ...first(await elfVmcores(), 2),
  ...first(await kdumps(), 2),
  ...first(qemuStreams(), 2),
});

const first = (inputs: Inputs, most: number): Inputs =>
  Object.fromEntries(Object.entries(inputs).slice(0, most));

/** A guest and what became of it by mutation: a guest differs from itself in nothing, and two as much either way. */
export const diff: Target = {
  name: "diff",
  seeds: smallGuests,
  async run(bytes) {
    const open = async () => openGuest(bytesSource(bytes), { partial: true });
    const guest = await attempt("open", open);
    if (guest instanceof GuestscopeError) return guest.code;
    const again = await open();
    const same = await attempt("compare", async () => compareMemory(guest.memory, again.memory));
    if (same instanceof GuestscopeError) return same.code;
    if (same.changed.length + same.onlyFirst.length + same.onlySecond.length > 0)
      throw new Violation("a guest differs from itself");
    for (const differences of [
      compareRegisters(guest, again),
      compareFacts(guest, again),
      compareAreas(guest, again),
    ])
      if (differences.length > 0)
        throw new Violation(`a guest differs from itself in ${differences[0]?.name}`);
    return `${same.compared > 0 ? "memory" : "none"} ${guest.vcpus.length}`;
  },
};

/** What a viewer asks of an input, a part of it each time, since the limits are for a call or two: answers that can be sent, or errors that bad input may cause. */
export const session: Target = {
  name: "session",
  seeds: smallGuests,
  async run(bytes, random) {
    const source = bytesSource(bytes);
    const input = await attempt("input", async () => sourceInput(source));
    if (input instanceof GuestscopeError) return input.code;
    const one = new Session(async () => input);
    const outcomes: Outcome[] = [];
    let pieces = 0;
    const call = async <M extends Method>(method: M, argument: Methods[M]["argument"]): Promise<unknown> => {
      if (!NEEDED.has(method) && random.oneIn(2)) return undefined;
      const result = await attempt(method, async () => one.call(method, argument, context));
      if (result instanceof GuestscopeError) outcomes.push(result.code);
      else encodeWire(result ?? null);
      return result;
    };
    const context = {
      progress: () => undefined,
      piece: async (part: Uint8Array) => {
        pieces += part.length;
        if (pieces > 4 * LARGEST) throw new Violation("an extraction of more than the guest's memory");
      },
    };
    const address = (): bigint => BigInt(random.below(2 ** 31)) << BigInt(random.below(33));
    await call("open", undefined);
    await call("glance", { of: random.oneIn(2) ? "guest" : "file" });
    const table = await call("memory", undefined);
    await call("overview", undefined);
    await call("processors", undefined);
    for (const space of ["file", "physical", "kernel", "vcpu:0", "vcpu:77", "pid:1"] as const)
      await call("read", { space, address: address(), length: 1 + random.below(70_000) });
    await call("sample", { addresses: Float64Array.from({ length: 9 }, () => Number(address())) });
    await call("hashPages", { start: Number(address() & ~0xfffn), pages: 64 });
    await call("search", { pattern: Uint8Array.of(1, 2), from: 0, budget: 1 << 20, mostHits: 100 });
    await call("parts", undefined);
    await call("fields", { start: 0, end: random.below(bytes.length + 1), structures: [] });
    await call("verify", undefined);
    await call("document", undefined);
    await call("linuxSummary", undefined);
    await call("linuxTasks", undefined);
    const ends = table instanceof GuestscopeError ? undefined : (table as Methods["memory"]["result"]).ends;
    if ((ends?.at(-1) ?? Infinity) < LARGEST) await call("extract", { to: random.oneIn(2) ? "elf" : "raw" });
    await call("close", undefined);
    return [...new Set(outcomes)].sort().join(" ");
  },
};
