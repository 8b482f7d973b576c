import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures, hasProgram, runCli, scratch, skipUnless } from "../../shared.js";
import { crc32 } from "./samples.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const folderOf = path.join(fixtures, "qemu-migration");
const unzip = (name: string): Buffer => zlib.gunzipSync(fs.readFileSync(path.join(folderOf, name)));

describe("a real stream on the command line", () => {
  const stream = path.join(folder, "guest.qevm");
  const cut = path.join(folder, "cut.qevm");
  const truth: number[] = [];
  beforeAll(() => {
    const bytes = unzip("tiny-compress.qevm.gz");
    fs.writeFileSync(stream, bytes);
    fs.writeFileSync(cut, bytes.subarray(0, bytes.length >> 1));
    for (const line of unzip("tiny-compress.pages.gz").toString().trim().split("\n")) {
      const [block, page = "", crc = ""] = line.split(" ");
      if (block === "pc.ram") truth[Number.parseInt(page, 16)] = Number.parseInt(crc, 16);
    }
  });

  it("verify", () => {
    expect(runCli(["verify", stream])).toMatchObject({ status: 0, stdout: expect.stringContaining("valid") });
    expect(runCli(["verify", cut])).toMatchObject({
      status: 1,
      stdout: expect.stringContaining("qevm/truncated"),
    });
  });

  it("inspect, as text and as JSON", () => {
    const text = runCli(["inspect", stream]);
    expect(text.status).toBe(0);
    expect(text.stdout).toMatch(/machine +pc-i440fx-7\.2/);
    expect(text.stdout).toContain("00000000ffff0000-00000000ffffffff pc.bios");
    const { blocks, devices } = JSON.parse(runCli(["inspect", "--json", stream]).stdout) as {
      blocks: { name: string; counts: { compressed: number } }[];
      devices: { section: string }[];
    };
    expect(blocks[0]).toMatchObject({ name: "pc.ram", counts: { compressed: 1709 } });
    expect(devices.length).toBe(28);
  });

  it("extract --blocks writes a block as it is", () => {
    const raw = path.join(folder, "ram.raw");
    expect(runCli(["extract", "--blocks=pc.ram", "--to", "raw", stream, raw]).status).toBe(0);
    const bytes = fs.readFileSync(raw);
    expect(bytes.length).toBe(truth.length * 4096);
    for (const [i, crc] of truth.entries()) expect(crc32(bytes.subarray(i * 4096, (i + 1) * 4096))).toBe(crc);
  });

  it("extract: an ELF that readelf takes; a cut stream only with --partial", () => {
    const elf = path.join(folder, "guest.elf");
    expect(runCli(["extract", stream, elf]).status).toBe(0);
    expect(runCli(["extract", cut, path.join(folder, "cut.elf")])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("qevm/truncated"),
    });
    expect(fs.existsSync(path.join(folder, "cut.elf"))).toBe(false);
    expect(runCli(["extract", "--partial", cut, path.join(folder, "cut.elf")]).status).toBe(0);
    if (skipUnless(hasProgram("readelf"), "readelf")) return;
    const segments = execFileSync("readelf", ["-lnW", elf], { encoding: "utf8" });
    expect(segments).toMatch(/LOAD .* 0x00000000ffff0000 0x010000 /);
    expect(segments).toContain("NT_PRSTATUS");
  });
});
