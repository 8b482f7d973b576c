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
    expect(text.stdout).toMatch(/machine +QEMU, pc-i440fx-7\.2/);
    expect(text.stdout).toContain("00000000ffff0000-00000000ffffffff pc.bios");
    const { blocks, devices } = (
      JSON.parse(runCli(["inspect", "--json", stream]).stdout) as {
        details: {
          blocks: { name: string; counts: { compressed: number } }[];
          devices: { section: string }[];
        };
      }
    ).details;
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

  it("damage in every part: verify says where, extract refuses, --partial takes what is left", () => {
    const whole = unzip("tiny-compress.qevm.gz");
    const description = whole.lastIndexOf(Buffer.from([0, 6]));
    const changed = (change: (bytes: Buffer) => Buffer | undefined): Buffer => {
      const bytes = Buffer.from(whole);
      return change(bytes) ?? bytes;
    };
    const cases: [string, Buffer, string, number][] = [
      ["inside the header", whole.subarray(0, 6), "qevm/truncated", 1],
      ["inside the block list", whole.subarray(0, 120), "qevm/truncated", 1],
      ["between RAM and devices", whole.subarray(0, description - 4000), "qevm/", 0],
      ["without the end mark", whole.subarray(0, description), "qevm/end/missing", 0],
      ["inside the description", whole.subarray(0, -100), "qevm/vmdesc/length", 0],
      [
        "a description that is no JSON",
        changed((bytes) => void bytes.fill(0x20, description + 6, description + 20)),
        "qevm/vmdesc/malformed",
        0,
      ],
      ["flags of a page", changed((bytes) => void (bytes[0x200] = 0xff)), "qevm/", 0],
    ];
    for (const [name, bytes, code, partial] of cases) {
      const file = path.join(folder, "damaged.qevm");
      const out = path.join(folder, "damaged.elf");
      fs.writeFileSync(file, bytes);
      const verified = JSON.parse(runCli(["verify", "--json", file]).stdout) as {
        inputs: { valid: boolean; findings: { severity: string; code: string; offset: number }[] }[];
      };
      const errors = verified.inputs[0]?.findings.filter(({ severity }) => severity === "error") ?? [];
      expect(errors[0]?.code, name).toContain(code);
      expect(errors[0]?.offset, name).toBeLessThanOrEqual(bytes.length);
      expect(runCli(["extract", file, out]).status, name).toBe(1);
      expect(fs.existsSync(out), name).toBe(false);
      expect(runCli(["extract", "--partial", file, out]).status, name).toBe(partial);
      fs.rmSync(out, { force: true });
    }
  });
});
