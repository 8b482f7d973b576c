import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { runCli, scratch } from "../../shared.js";
import { readPages, wrongPages } from "./pages.js";
import { collect, pcDevices } from "./qevm-writer.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const SIZE = 2 << 20;
/** Header of the stream, configuration with a capability, head of the section, sum, entry. */
const bytes = collect((writer) => {
  writer.header().configuration("pc-i440fx-7.2", ["mapped-ram"]);
  writer.startMappedRam({ name: "pc.ram", length: SIZE }, () => {
    for (let at = 0; at < SIZE; at += 4096) writer.put(Buffer.alloc(4096, 1 + (at >> 12)));
  });
  writer.ram(true, () => undefined);
  pcDevices(writer, SIZE, 0);
  writer.end();
});
const entry = bytes.indexOf("\x06pc.ram", 0, "latin1");

describe("a mapped-ram file whose list of blocks is damaged", () => {
  it.each([
    ["name", entry, 7],
    ["length", entry + 7, 8],
    ["header", entry + 15, 28],
    ["entry", entry, 43],
  ] as const)("%s", async (_, at, length) => {
    const whole = await readPages(await openGuest(bytesSource(bytes, "whole"), { findKernel: false }));
    expect(whole.size).toBe(SIZE / 4096);
    for (const fill of [0, 0x5a, 0xff]) {
      const damaged = Buffer.from(bytes).fill(fill, at, at + length);
      const guest = await openGuest(bytesSource(damaged, "damaged"), { findKernel: false, partial: true });
      const found = await readPages(guest);
      expect(wrongPages(found, whole)).toEqual([]);
      expect(found.size).toBe(whole.size);
      expect(guest.rescue?.lost[0]?.start).toBeLessThanOrEqual(at);
    }
  });

  it("is verified, mapped and extracted", () => {
    const file = path.join(folder, "mapped.qevm");
    fs.writeFileSync(file, Buffer.from(bytes).fill(0xff, entry + 7, entry + 30));
    const { status, stdout } = runCli(["verify", "--map", file]);
    expect(status).toBe(1);
    expect(stdout).toMatch(new RegExp(`^ +0x${entry.toString(16)} +43 +lost +the stream's head`, "m"));
    expect(stdout).toMatch(/damaged head: the size of RAM block 'pc\.ram' is 2097152 bytes/);
    const out = path.join(folder, "mapped.raw");
    expect(runCli(["extract", "--partial", "--force", file, out]).status).toBe(0);
    const at = bytes.indexOf(Buffer.alloc(4096, 1));
    expect(fs.readFileSync(out).equals(bytes.subarray(at, at + SIZE))).toBe(true);
  });
});
