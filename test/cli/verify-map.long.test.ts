import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { fixtures, hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../shared.js";
import { hasTerminal, onTerminal, shellCommand } from "./terminal-session.js";

const place = scratch();
afterAll(place.cleanup);

interface Part {
  readonly offset: number;
  readonly length: number;
  readonly state: "whole" | "lost" | "doubtful";
}
interface Range {
  readonly start: number;
  readonly end: number;
}

const fixture = (...name: readonly string[]): Buffer =>
  zlib.gunzipSync(fs.readFileSync(path.join(fixtures, ...name)));
const shared = (...name: readonly string[]): Buffer =>
  fs.readFileSync(unzstd(path.join(sharedData, ...name), place.folder));

function dump(): Buffer {
  const input = path.join(place.folder, "lime.legacy");
  const output = path.join(place.folder, "made.lime");
  fs.writeFileSync(input, fixture("xen-legacy", "hvm64-params.legacy.gz"));
  expect(runCli(["extract", input, output, "--force"]).status).toBe(0);
  return fs.readFileSync(output);
}

/** A real file of each format, and bytes of it whose damage hits more than contents of pages. */
const files: readonly (readonly [
  name: string,
  isShared: boolean,
  make: () => Buffer,
  hit: (bytes: Buffer) => readonly [at: number, length: number],
])[] = [
  [
    "legacy Xen stream",
    false,
    () => fixture("xen-legacy", "hvm64-live.legacy.gz"),
    () => [5_600_000, 800_000],
  ],
  ["flattened kdump", false, () => fixture("vmcore", "tiny-split.lzo.flat.gz"), () => [400_000, 40_000]],
  ["LiME dump", false, dump, (bytes) => [bytes.indexOf("EMiL", 32), 32]],
  ["Xen stream", true, () => shared("xen-v3", "pv64.save.zst"), (bytes) => [bytes.length * 0.64, 1 << 20]],
  [
    "QEMU stream",
    true,
    () => shared("qemu-migration", "tiny-pc2", "stream.qevm.zst"),
    (bytes) => [bytes.length / 2, 1 << 16],
  ],
  [
    "libvirt save",
    true,
    () => shared("libvirt-save", "raw.save.zst"),
    (bytes) => [bytes.length / 2, 1 << 16],
  ],
];

skipUnless(hasShared, "shared data");
const here = files.filter(([, isShared]) => hasShared || !isShared);

function mapOf(file: string): { size: number; parts: readonly Part[]; memory: readonly Range[] } {
  const { stdout } = runCli(["verify", "--map", "--json", file]);
  return JSON.parse(stdout).inputs[0].map;
}

/** The map is of all of the file, and has the lost parts and the doubtful memory that `extract --partial` reports. */
function expectAsExtracted(file: string): readonly Part[] {
  const map = mapOf(file);
  let end = 0;
  for (const { offset, length } of map.parts) {
    expect(offset).toBe(end);
    end = offset + length;
  }
  expect(end).toBe(fs.statSync(file).size);
  expect(map.size).toBe(end);
  const out = path.join(place.folder, "out.elf");
  const { stdout } = runCli(["extract", "--partial", "--json", "--force", file, out]);
  const { lost, doubtful }: { lost: Range[]; doubtful: Range[] } = JSON.parse(stdout).rescue ?? {
    lost: [],
    doubtful: [],
  };
  const drawn = map.parts.filter(({ state }) => state === "lost");
  expect(drawn.map(({ offset, length }) => [offset, offset + length])).toEqual(
    lost.map(({ start, end: stop }) => [start, Math.min(stop, map.size)]),
  );
  expect(map.memory).toEqual(doubtful);
  return map.parts;
}

describe("verify --map", () => {
  it.each(here)("of a %s: whole, damaged in its middle, cut", { timeout: 180_000 }, (name, _, make, hit) => {
    const bytes = make();
    const file = path.join(place.folder, name.replaceAll(" ", "-"));
    fs.writeFileSync(file, bytes);
    expect(expectAsExtracted(file)).toEqual([{ offset: 0, length: bytes.length, state: "whole" }]);
    expect(runCli(["verify", "--map", file]).stdout).toMatch(
      new RegExp(`^ +0x0 +${bytes.length} +whole *$`, "m"),
    );

    const [at, length] = hit(bytes).map(Math.floor);
    const damaged = Buffer.from(bytes);
    for (let i = 0; i < (length ?? 0); i += 1) damaged[(at ?? 0) + i] = (i * 193 + 89) & 0xff;
    fs.writeFileSync(file, damaged);
    const parts = expectAsExtracted(file);
    const lost = parts.find(({ state }) => state === "lost");
    expect(lost, name).toBeDefined();
    expect(runCli(["verify", "--map", file]).stdout).toMatch(
      new RegExp(`^ +0x${lost?.offset.toString(16) ?? ""} +${lost?.length ?? ""} +lost `, "m"),
    );
    if (hasTerminal)
      expect(onTerminal(shellCommand("verify", "--map", file)).output).toMatch(/^ {2}\[#[#?]*\.+[#?.]*\]$/m);

    fs.writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length * 0.6)));
    expect(expectAsExtracted(file).at(0)?.state).toBe("whole");
    fs.rmSync(file);
  });

  it("says what memory may be older, of a guest that ran", { timeout: 60_000 }, () => {
    const bytes = fixture("xen-legacy", "hvm64-live.legacy.gz");
    const file = path.join(place.folder, "live.legacy");
    bytes.fill(0xa5, 5_600_000, 6_400_000);
    fs.writeFileSync(file, bytes);
    expect(mapOf(file).memory.length).toBeGreaterThan(0);
    expect(runCli(["verify", "--map", file]).stdout).toMatch(
      /^ +doubtful memory 0x.*may be older than the guest's last state/m,
    );
    const { stderr } = runCli(["extract", "--partial", file, path.join(place.folder, "live.elf")]);
    expect(stderr).toMatch(/doubtful: memory 0x.*may be older than the guest's last state/);
  });
});
