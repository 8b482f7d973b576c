import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { blobSource } from "../../../src/io/web/blob.js";
import { unpackToBlob } from "../../../src/io/web/unpack.js";
import { SystemError } from "../../../src/findings/errors.js";
import { openGuest } from "../../../src/open/open.js";
import { answer } from "../../../src/open/session/serve.js";
import { sourceInput } from "../../../src/open/session/input.js";
import type { Call, Method, Methods, Reply } from "../../../src/open/session/protocol.js";
import { Session } from "../../../src/open/session/session.js";
import { fixtures, hasShared, sharedData, skipUnless } from "../../shared.js";

const demo = new Uint8Array(gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz"))));

function sessionOf(bytes: Uint8Array, name = "web01"): Session {
  return new Session(() => sourceInput(bytesSource(bytes, name)));
}

async function call<M extends Method>(
  session: Session,
  method: M,
  argument: Methods[M]["argument"],
): Promise<Methods[M]["result"]> {
  const replies: Reply[] = [];
  await answer(session, { id: 1, method, argument }, (reply) => void replies.push(reply));
  const last = replies.at(-1);
  if (last?.kind === "error") throw new Error(`${last.problem.code}: ${last.problem.message}`);
  if (last?.kind !== "result") throw new Error("no result");
  // what goes through a worker must be clonable
  return structuredClone(last.result) as Methods[M]["result"];
}

describe("Session", () => {
  it("tells what an input is, its guest and that it is sound", async () => {
    const session = sessionOf(demo);
    expect(await call(session, "open", undefined)).toMatchObject({ format: "xen-legacy", size: demo.length });
    const overview = await call(session, "overview", undefined);
    expect(overview.name).toBe("legacy-hvm64-remus-xl");
    expect(overview.problems).toEqual([]);
    expect(overview.processors).toHaveLength(1);
    expect(await call(session, "verify", undefined)).toMatchObject({ valid: true, errors: 0 });
    expect(JSON.parse(await call(session, "document", undefined))).toMatchObject({ kind: "xen-legacy" });
  });

  it("tells what is lost of a packed input, and reads on after it", async () => {
    const half = demo.length >> 1;
    const members = [demo.subarray(0, half), demo.subarray(half)].map((part) => gzipSync(part));
    const packed = Buffer.concat(members);
    packed.fill(0x55, (members[0]?.length ?? 0) >> 1, ((members[0]?.length ?? 0) >> 1) + 100);
    const source = await unpackToBlob(blobSource(new Blob([packed]), "web01.gz"));
    if (source === undefined) throw new Error("not unpacked");
    const session = new Session(() => sourceInput(source, { compression: source.packed?.compression }));
    const [lost] = source.packed?.lost ?? [];
    if (lost === undefined) throw new Error("nothing is lost");
    const overview = await call(session, "glance", { of: "file" });
    expect(overview.identity).toMatchObject({ format: "xen-legacy", compression: "gzip" });
    expect(overview.problems.map(({ code, offset }) => [code, offset])).toContainEqual([
      "codec/gzip",
      lost.start,
    ]);
    expect(overview.warnings).toContainEqual(expect.stringContaining("an unknown number of bytes unpacked"));
    const space = "file";
    const before = await call(session, "read", { space, address: BigInt(lost.start - 16), length: 32 });
    expect(before.runs).toEqual([
      { offset: 0, length: 16, state: "present" },
      { offset: 16, length: 16, state: "damaged", reason: "it is lost with damaged packed data" },
    ]);
    const after = await call(session, "read", { space, address: BigInt(lost.end - 16), length: 32 });
    expect(after.runs.map(({ state, length }) => [state, length])).toEqual([
      ["damaged", 16],
      ["present", 16],
    ]);
    expect(Buffer.compare(after.bytes.subarray(16), demo.subarray(half, half + 16))).toBe(0);
  });

  it("tries again what failed because the input could not be read", async () => {
    const plain = bytesSource(demo, "web01");
    let isGone = true;
    const read = (offset: number, into: Uint8Array): ReturnType<typeof plain.read> => {
      if (isGone) throw new SystemError("os/EIO", "gone", { source: "web01" });
      return plain.read(offset, into);
    };
    const session = new Session(() => sourceInput({ ...plain, read }));
    await expect(call(session, "open", undefined)).rejects.toThrow("os/EIO");
    isGone = false;
    await call(session, "open", undefined);
    isGone = true;
    await expect(call(session, "memory", undefined)).rejects.toThrow("gone");
    await expect(call(session, "document", undefined)).rejects.toThrow("gone");
    isGone = false;
    expect((await call(session, "memory", undefined)).legend.length).toBeGreaterThan(0);
    expect(JSON.parse(await call(session, "document", undefined))).toMatchObject({ kind: "xen-legacy" });
  });

  it("glances at a guest without a search through its memory for a kernel", async () => {
    const file = path.join(fixtures, "vmcore/machines/aarch64.elf.gz");
    const plain = bytesSource(new Uint8Array(gunzipSync(fs.readFileSync(file))), "machine");
    let bytes = 0;
    const read = (offset: number, into: Uint8Array): ReturnType<typeof plain.read> => {
      bytes += into.length;
      return plain.read(offset, into);
    };
    const session = new Session(() => sourceInput({ ...plain, read }));
    for (const of of ["guest", "file"] as const) {
      const glance = await call(session, "glance", { of });
      expect(glance).toMatchObject({ searched: false });
      expect(glance.processors.length).toBeGreaterThan(0);
      expect(bytes).toBeLessThan(plain.size / 10);
    }
    expect(await call(session, "overview", undefined)).toMatchObject({ searched: true });
    expect(bytes).toBeGreaterThan(plain.size / 2);
  });

  it("reads guest memory as the library does, and says what is not there", async () => {
    const session = sessionOf(demo);
    const guest = await openGuest(bytesSource(demo, "web01"));
    const table = await call(session, "memory", undefined);
    const total = table.legend.reduce((sum, { bytes }) => sum + bytes, 0);
    const ranges = Array.from(guest.memory.ranges());
    expect(total).toBe(ranges.reduce((sum, { start, end }) => sum + end - start, 0));
    const end = table.ends.at(-1) ?? 0;
    for (let at = 0; at < end; at += 123_457) {
      const { bytes, runs } = await call(session, "read", {
        space: "physical",
        address: BigInt(at),
        length: 5000,
      });
      expect(runs.reduce((sum, { length }) => sum + length, 0)).toBe(5000);
      for (const { offset, length, state } of runs) {
        const known = new Uint8Array(length);
        const n = await guest.memory.read(at + offset, known);
        if (state === "present" || state === "zero") {
          expect(n).toBe(length);
          expect(Buffer.compare(known, bytes.subarray(offset, offset + length))).toBe(0);
        } else expect(n).toBe(0);
      }
    }
    const beyond = await call(session, "read", { space: "physical", address: 2n ** 64n - 16n, length: 16 });
    expect(beyond.runs).toEqual([{ offset: 0, length: 16, state: "hole" }]);
  });

  it("reads the file itself and says where it ends", async () => {
    const { bytes, runs } = await call(sessionOf(demo), "read", {
      space: "file",
      address: BigInt(demo.length - 8),
      length: 32,
    });
    expect(Buffer.compare(bytes.subarray(0, 8), demo.subarray(-8))).toBe(0);
    expect(runs.map(({ state, length }) => [state, length])).toEqual([
      ["present", 8],
      ["end", 24],
    ]);
  });

  it("finds every place of a pattern, whatever the budget of a call", async () => {
    const session = sessionOf(demo);
    const guest = await openGuest(bytesSource(demo, "web01"));
    const whole: { gpa: number; bytes: Uint8Array }[] = [];
    for await (const { gpa, length, bytes } of guest.memory.pieces()) {
      const last = whole.at(-1);
      const copy = bytes?.slice() ?? new Uint8Array(length);
      if (last === undefined || last.gpa + last.bytes.length !== gpa) whole.push({ gpa, bytes: copy });
      else last.bytes = Buffer.concat([last.bytes, copy]);
    }
    // two bytes across the border of two pages, where there are any
    const from = whole.find(({ bytes }) => bytes.length > 8192 && bytes[4095] !== 0);
    const pattern = (from ?? whole[0])?.bytes.slice(4095, 4097) ?? new Uint8Array(2);
    const expected = whole.flatMap(({ gpa, bytes }) => {
      const hits: number[] = [];
      for (
        let at = Buffer.from(bytes).indexOf(pattern);
        at !== -1;
        at = Buffer.from(bytes).indexOf(pattern, at + 1)
      )
        hits.push(gpa + at);
      return hits;
    });
    expect(expected.length).toBeGreaterThan(0);
    const most = Math.ceil(expected.length / 5);
    const found: number[] = [];
    for (let next: number | undefined = 0; next !== undefined; ) {
      const result: Methods["search"]["result"] = await call(session, "search", {
        pattern,
        from: next,
        budget: 1 << 19,
        mostHits: most,
      });
      found.push(...result.hits);
      next = result.next;
    }
    expect(found).toEqual(expected);
  });

  it("lists the parts of a file so that they account for every byte", async () => {
    const { parts } = await call(sessionOf(demo), "parts", undefined);
    let at = 0;
    for (const { start, end } of parts) {
      expect(start).toBeLessThanOrEqual(at);
      at = Math.max(at, end);
    }
    expect(at).toBe(demo.length);
  });

  it("opens what is intact of a cut file and says what is wrong", async () => {
    const session = sessionOf(demo.subarray(0, 1_700_000));
    const overview = await call(session, "overview", undefined);
    expect(overview.problems.length).toBeGreaterThan(0);
    expect(overview.problems[0]).toMatchObject({ severity: "error" });
    expect((await call(session, "verify", undefined)).valid).toBe(false);
  });

  it("answers errors of bad input with their codes and never throws", async () => {
    const session = sessionOf(new TextEncoder().encode("no saved guest"));
    const replies: Reply[] = [];
    for (const method of ["open", "overview", "memory", "parts", "nothing"])
      await answer(
        session,
        { id: 1, method, argument: undefined } as unknown as Call,
        (reply) => void replies.push(reply),
      );
    expect(replies.map(({ kind }) => kind)).toEqual(["error", "error", "error", "error", "error"]);
    expect(replies[0]).toMatchObject({ problem: { code: "open/unknown" } });
  });

  it("keeps a page of text apart from a page of zeros", async () => {
    const session = sessionOf(demo);
    const table = await call(session, "memory", undefined);
    const { there, entropy } = await call(session, "sample", {
      addresses: Float64Array.from([table.starts[0] ?? 0, 2 ** 45, Number.NaN]),
    });
    expect(Array.from(there)).toEqual([1, 0, 0]);
    expect(entropy[0]).toBeGreaterThanOrEqual(0);
  });

  it("hashes equal pages alike and changed ones differently", async () => {
    const one = await call(sessionOf(demo), "hashPages", { start: 0, pages: 64 });
    const changed = demo.slice();
    // within the contents of some page
    changed[1_000_000] = (changed[1_000_000] ?? 0) ^ 1;
    const two = await call(sessionOf(changed), "hashPages", { start: 0, pages: 700 });
    const three = await call(sessionOf(demo), "hashPages", { start: 0, pages: 700 });
    expect(Buffer.compare(Buffer.from(one.hashes.buffer), Buffer.from(three.hashes.buffer, 0, 64 * 8))).toBe(
      0,
    );
    const different = Array.from(two.known).filter(
      (known, i) => known === 1 && two.hashes[2 * i] !== three.hashes[2 * i],
    );
    expect(different.length).toBeLessThanOrEqual(1);
  });
});

/** Opening these takes minutes: indexes for all announced frames, quadratic patterns. */
const SLOW = /^(elf-absent-|flattened-announced-|xl-config-)/;

describe.skipIf(skipUnless(hasShared, "shared data"))("Session on damaged inputs", () => {
  const corpus = hasShared
    ? fs
        .readdirSync(path.join(sharedData, "fuzz"))
        .filter((name) => name.endsWith(".bin") && !SLOW.test(name))
    : [];
  it.each(corpus)("answers every question about %s", async (name) => {
    const session = sessionOf(new Uint8Array(fs.readFileSync(path.join(sharedData, "fuzz", name))), name);
    const methods = [
      "open",
      "overview",
      "memory",
      "processors",
      "parts",
      "verify",
      "document",
      "linuxLog",
    ] as const;
    for (const method of methods) {
      const replies: Reply[] = [];
      await answer(session, { id: 1, method, argument: undefined }, (reply) => void replies.push(reply));
      const last = replies.at(-1);
      if (last?.kind === "error")
        expect([method, last.problem]).not.toEqual([method, expect.objectContaining({ code: "internal" })]);
      else expect(last?.kind).toBe("result");
    }
  });
});
