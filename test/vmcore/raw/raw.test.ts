import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { kernelTextMapping } from "../../../src/guest/kernel/kernel-layout.js";
import { kernelBanner } from "../../../src/guest/kernel/vmcoreinfo.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import { openGuest } from "../../../src/open/open.js";
import { openRawGuest } from "../../../src/vmcore/raw/guest.js";
import type { RawOptions, RawPiece } from "../../../src/guest/options.js";
import { hasShared, rounds, runCli, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const noData = skipUnless(hasShared, "shared data");

const at = (name: string): string => path.join(folder, name);

async function open(
  input: Uint8Array,
  settings: RawOptions,
  files: Readonly<Record<string, Uint8Array>> = {},
): Promise<GuestImage> {
  return openRawGuest(bytesSource(input, "input"), {
    raw: settings,
    openFile: async (name) => bytesSource(files[name] ?? new Uint8Array(0), name),
  });
}

describe("raw memory", () => {
  it("is at the addresses that were said, from as many files as were named", async () => {
    const piece = fc.record({
      pages: fc.integer({ min: 1, max: 5 }),
      gap: fc.integer({ min: 0, max: 3 }),
      skip: fc.integer({ min: 0, max: 5000 }),
      odd: fc.constantFrom(0, 0, 512, 3),
    });
    await fc.assert(
      fc.asyncProperty(piece, fc.array(piece, { maxLength: 4 }), async (first, rest) => {
        let next = 0;
        const placed = [first, ...rest].map(({ pages, gap, skip, odd }, i) => {
          const address = next + gap * 4096;
          const length = pages * 4096 - odd;
          next = address + pages * 4096;
          const offset = i === 0 ? 0 : skip;
          const bytes = Uint8Array.from(
            { length: offset + length + (i === 0 ? 0 : 100) },
            (_, n) => (n * 7 + i) & 0xff,
          );
          return { path: `file${i}`, address, offset, length, bytes };
        });
        const [input, ...others] = placed;
        if (input === undefined) return;
        const pieces: RawPiece[] = others.map(({ bytes: _bytes, ...named }) => named);
        const files = Object.fromEntries(others.map(({ path: name, bytes }) => [name, bytes]));
        const guest = await open(input.bytes, { base: input.address, pieces }, files);
        for (const { address, offset, length, bytes } of placed) {
          const into = new Uint8Array(length);
          expect(await guest.memory.read(address, into)).toBe(length);
          expect(Buffer.compare(into, bytes.subarray(offset, offset + length))).toBe(0);
        }
        const total = [...guest.memory.ranges()].reduce((sum, { start, end }) => sum + end - start, 0);
        expect(total).toBe(placed.reduce((sum, { length }) => sum + length, 0));
        let walked = 0;
        for await (const found of guest.memory.pieces()) walked += found.length;
        expect(walked).toBe(total);
      }),
      { numRuns: rounds(60) },
    );
  });

  it("with two contents for an address has the later one, and says so", async () => {
    const guest = await open(
      new Uint8Array(8192).fill(1),
      { pieces: [{ path: "b", address: 4096 }] },
      { b: new Uint8Array(4096).fill(2) },
    );
    const into = new Uint8Array(2);
    await guest.memory.read(4096, into);
    expect([...into]).toEqual([2, 2]);
    expect(guest.warnings[0]).toMatch(/0x1000 is in input and in b/);
  });

  it("at no page, beyond its file or of no architecture is refused", async () => {
    const page = new Uint8Array(4096);
    await expect(open(page, { base: 100 })).rejects.toThrow(/no page of memory begins at 0x64/);
    await expect(open(page, { pieces: [{ path: "b", address: 4096, offset: 9 }] })).rejects.toThrow(
      /no byte at/,
    );
    await expect(
      open(page, { pieces: [{ path: "b", address: 4096, length: 9 }] }, { b: new Uint8Array(5) }),
    ).rejects.toThrow(/0x5 bytes there, not 0x9/);
    await expect(open(page, { arch: "z80" })).rejects.toThrow(/no architecture 'z80': there are x86_64/);
    await expect(open(new Uint8Array(0), {})).rejects.toThrow(/no byte/);
    expect((await open(page, { arch: "s390x" })).arch.name).toBe("s390x");
    expect((await open(page, {})).warnings[0]).toMatch(/doesn't say what CPU it is of/);
  });
});

describe.skipIf(noData)("a Linux guest as raw memory", () => {
  it("is what it was: memory, VMCOREINFO, kernel mapping", async () => {
    const elf = unzstd(path.join(sharedData, "kdump/linux.elf.zst"), folder);
    const image = at("linux.raw");
    expect(runCli(["extract", "--to", "raw", elf, image]).status).toBe(0);
    const reference = await openGuest(openFile(elf));
    const guest = await openRawGuest(openFile(image), {});
    for await (const piece of reference.memory.pieces()) {
      const bytes = new Uint8Array(piece.length);
      expect(await guest.memory.read(piece.gpa, bytes)).toBe(piece.length);
      expect(Buffer.compare(bytes, piece.bytes ?? new Uint8Array(piece.length))).toBe(0);
    }
    const text = guest.facts.vmcoreInfo?.text ?? "";
    expect(text).toBe(reference.facts.vmcoreInfo?.text);
    expect(await kernelTextMapping(guest.memory, text, guest.arch)).not.toEqual([]);
    expect(await kernelBanner(guest.memory, guest.arch, guest.facts.vmcoreInfo)).toMatch(/^Linux version /);
    expect(guest.warnings).toEqual([]);
  });

  it("is read on the command line: base, pieces, and an offer where nothing said so", () => {
    const elf = unzstd(path.join(sharedData, "kdump/linux.elf.zst"), folder);
    const [low, high, both, out] = [at("low.raw"), at("high.raw"), at("both.raw"), at("back.raw")];
    const cut = (range: string, file: string): number =>
      runCli(["extract", "--to", "raw", "--partial", "--range", range, elf, file]).status;
    expect([
      cut("0x1000000-0x1200000", low),
      cut("0x1200000-0x1300000", high),
      cut("0x1000000-0x1300000", both),
    ]).toEqual([0, 0, 0]);
    const how = ["--format", "raw", "--base", "0x1000000", "--piece", `${high}@0x1200000`];
    expect(
      runCli(["extract", ...how, low, out, "--to", "raw", "--range", "0x1000000-0x1300000"]).status,
    ).toBe(0);
    expect(Buffer.compare(fs.readFileSync(out), fs.readFileSync(both))).toBe(0);
    const { stdout } = runCli(["inspect", ...how, low]);
    expect(stdout).toMatch(
      /raw memory\n[^]*\n {2}0x1000000-0x11fffff .*low\.raw\n {2}0x1200000-0x12fffff .*high\.raw/,
    );
    const part = `${both}@0x2000000:0x100000+4096`;
    expect(runCli(["inspect", "--format", "raw", "--piece", part, low]).stdout).toMatch(
      /0x2000000-0x2000fff/,
    );
    const split = ["--base", "0x1000000:0+0x200000", "--piece", `${both}@0x3000000:0x200000`];
    const regions = /0x1000000-0x11fffff [^]*0x3000000-0x30fffff /;
    expect(runCli(["inspect", "--format", "raw", ...split, both]).stdout).toMatch(regions);
    expect(runCli(["inspect", "--base", "0", low]).status).toBe(2);
    expect(runCli(["inspect", "--format", "raw", "--piece", "x", low]).status).toBe(2);
  });

  it("a padded LiME dump is offered to be read so, and is", () => {
    const file = unzstd(path.join(sharedData, "field/padded.lime.zst"), folder);
    const unsaid = runCli(["inspect", file]);
    expect([unsaid.status, unsaid.stderr]).toEqual([1, expect.stringMatching(/format raw/)]);
    expect(runCli(["inspect", "--format", "raw", "--arch", "aarch64", file]).stdout).toMatch(/aarch64/);
  });
});
