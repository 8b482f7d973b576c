import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DebugInfo } from "../../../src/dwarf/info.js";
import { ElfFile } from "../../../src/elf/file.js";
import { PT_LOAD, PT_NOTE } from "../../../src/elf/layout.js";
import { type ByteSource, bytesSource } from "../../../src/io/byte-source.js";
import { FormatError, GuestscopeError } from "../../../src/findings/errors.js";
import { openFile } from "../../../src/io/node/files.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { qemuCore } from "../../../src/qemu/core/format.js";
import { guestOfQemu, openCore, openQemuProcess } from "../../../src/qemu/core/guest.js";
import { limeWriter } from "../../../src/vmcore/lime/write.js";
import { hasProgram, projectRoot, rounds, runCli, scratch, skipUnless } from "../../shared.js";
import { compileMimic, runMimic } from "./mimic.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const skip = skipUnless(hasProgram("gcc") && hasProgram("gcore"), "gcc and gcore");

describe.skipIf(skip)("damaged cores", () => {
  let core: Uint8Array;
  let debug: { elf: ElfFile; info: DebugInfo };
  /** Places of the structures that the walk follows. */
  let structures: number[];

  beforeAll(async () => {
    const exe = compileMimic(folder, 702);
    const { child, pid } = await runMimic(exe);
    spawnSync("gcore", ["-o", path.join(folder, "core"), String(pid)], { stdio: "ignore" });
    child.kill("SIGKILL");
    core = new Uint8Array(fs.readFileSync(path.join(folder, `core.${pid}`)));
    const elf = await ElfFile.open(openFile(exe));
    debug = { elf, info: await DebugInfo.open(elf) };
    const process = await openCore(bytesSource(core));
    const { view } = await openQemuProcess(process, async () => debug);
    const addresses = [
      ...view.blocks.map(({ address }) => address),
      ...view.ranges.map(({ region }) => region.address),
    ];
    structures = addresses.flatMap((address) =>
      [...process.memory.pieces(address, address + 64)].flatMap(({ offset }) => offset ?? []),
    );
  });

  /** Opens and writes everything out; true when that worked. Anything but our own errors fails the test. */
  async function attempt(source: ByteSource): Promise<boolean> {
    try {
      const guest = await guestOfQemu(
        await openQemuProcess(await openCore(source), async () => debug),
        "test",
      );
      const report = await limeWriter.write(guest, new MemorySink(), { range: { start: 0, end: 2 ** 34 } });
      return report.absent === 0;
    } catch (error) {
      expect(error).toBeInstanceOf(GuestscopeError);
      return false;
    }
  }

  it("is whole to begin with", async () => {
    expect(await attempt(bytesSource(core))).toBe(true);
  });

  it("cut anywhere: an error, or memory reported absent", async () => {
    const ends = [0, 1, 16, 63, 64, 65, 120, 176, 1000, 4095, 4096];
    for (let i = 1; i < 40; i += 1) ends.push(Math.floor((core.length * i) / 40));
    for (const end of ends)
      expect([end, await attempt(bytesSource(core.subarray(0, end)))]).toEqual([end, false]);
  });

  const main = path.join(projectRoot, "dist/cli/main.js");
  it.skipIf(skipUnless(fs.existsSync(main), "dist/ (npm run build)"))(
    "cut where something ends or is in the midst, through the command: one line of error, no output",
    async () => {
      const exe = path.join(folder, "mimic-702");
      const elf = await ElfFile.open(bytesSource(core));
      const notes = elf.segments.at(elf.segments.type.indexOf(PT_NOTE));
      const first = elf.segments.at(elf.segments.type.indexOf(PT_LOAD));
      const table = elf.header.e_phoff;
      const places = {
        "the ELF header": 32,
        "the program headers": table + elf.segments.length * 28,
        "their end": table + elf.segments.length * 56,
        "the notes": notes.p_offset + notes.p_filesz / 2,
        "the first contents": first.p_offset + first.p_filesz / 2,
        "QEMU's structures": structures[0] ?? 0,
        "the last contents": Math.max(...elf.segments.offset) + 1,
      };
      const [cut, out] = [path.join(folder, "cut"), path.join(folder, "out")];
      for (const [where, end] of Object.entries(places)) {
        fs.writeFileSync(cut, core.subarray(0, Math.floor(end)));
        const run = runCli(["extract", "--exe", exe, cut, out]);
        expect([where, run.status, fs.existsSync(out)]).toEqual([where, 1, false]);
        const lines = run.stderr.split("\n").filter((line) => !/warning: |^guestscope: missing /.test(line));
        expect(lines).toEqual([expect.stringMatching(/^guestscope: /), ""]);
      }
    },
  );

  it("bits flipped in headers, notes and structures: an error or another guest, never a crash", async () => {
    const headers = fc.nat(8191);
    const inStructure = fc
      .tuple(fc.nat(), fc.nat(300))
      .map(([i, offset]) => (structures[i % structures.length] ?? 0) + offset);
    const flip = fc.record({ at: fc.oneof(headers, inStructure), bit: fc.nat(7) });
    await fc.assert(
      fc.asyncProperty(fc.array(flip, { minLength: 1, maxLength: 4 }), async (flips) => {
        const saved = flips.map(({ at }) => core[at] ?? 0);
        for (const { at, bit } of flips) core[at] = (core[at] ?? 0) ^ (1 << bit);
        await attempt(bytesSource(core));
        for (const [i, { at }] of [...flips.entries()].toReversed()) core[at] = saved[i] ?? 0;
      }),
      { numRuns: rounds(300) },
    );
  }, 60_000);

  it("is told from other files", () => {
    expect(qemuCore.matches(core.subarray(0, 4096))).toBe(true);
    expect(qemuCore.matches(core.subarray(0, 63))).toBe(false);
    const executable = fs.readFileSync(process.execPath).subarray(0, 4096);
    expect(qemuCore.matches(new Uint8Array(executable))).toBe(false);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4096 }), fc.nat(4), (bytes, kept) => {
        bytes.set(core.subarray(0, Math.min(bytes.length, 16 * kept)));
        expect(typeof qemuCore.matches(bytes)).toBe("boolean");
      }),
    );
  });

  it("a program is no core", async () => {
    const opened = openCore(openFile(process.execPath));
    await expect(opened).rejects.toBeInstanceOf(FormatError);
  });
});
