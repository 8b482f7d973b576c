import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import { readImage } from "../../../src/disk/qcow2/read.js";
import { chooseSnapshot } from "../../../src/disk/qcow2/snapshots.js";
import { stateSource } from "../../../src/disk/qcow2/state.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { makeImage, sampleBytes } from "./qcow2-maker.js";

const noSamples = skipUnless(hasShared, "shared data of QEMU 11");
const { folder, cleanup } = scratch();
afterAll(cleanup);

describe.skipIf(noSamples)("qcow2 images on the command line", () => {
  const image = (): string =>
    unzstd(path.join(sharedData, "qemu11/qcow2-v3/disk.qcow2.zst"), folder, { name: "v3.qcow2" });

  it("inspect lists the snapshots, and shows the one that is named", () => {
    const { status, stdout } = runCli(["inspect", image()]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ {2}1 {3}snap0 .*\n {2}2 {3}snap1 /m);
    expect(stdout).not.toMatch(/QEMU migration stream/);
    expect(runCli(["inspect", "--snapshot", "2", image()]).stdout).toMatch(
      /snapshot 'snap1', QEMU migration/,
    );
  });

  it("extract and verify take --snapshot", () => {
    const out = path.join(folder, "out.elf");
    const unsaid = runCli(["extract", image(), out]);
    expect([unsaid.status, fs.existsSync(out)]).toEqual([2, false]);
    expect(unsaid.stderr).toMatch(/which snapshot\?/);
    expect(runCli(["extract", "--snapshot", "snap1", image(), out]).status).toBe(0);
    expect(runCli(["verify", "--snapshot", "snap1", image()]).status).toBe(0);
    expect(runCli(["verify", "--snapshot", "none", image()]).status).toBe(2);
  });

  it("--partial takes the state up to a lost cluster", async () => {
    const cut = path.join(folder, "cut.qcow2");
    const file = unzstd(path.join(sharedData, "qemu11/qcow2-c512/disk.qcow2.zst"), folder, {
      name: "c512.qcow2",
    });
    const bytes = fs.readFileSync(file);
    const { source, header, snapshots } = await readImage(bytesSource(bytes), new Report("disk"));
    const state = stateSource(source, header, chooseSnapshot(snapshots, undefined, file));
    bytes.writeBigUInt64BE((1n << 63n) | 0x4000_0000n, await state.entryOffset(4 << 20));
    fs.writeFileSync(cut, bytes);
    const out = path.join(folder, "part.elf");
    expect(runCli(["verify", cut]).stdout).toMatch(/disk\/qcow2\/beyond-file/);
    expect(runCli(["extract", cut, out]).status).toBe(1);
    const partial = runCli(["extract", "--partial", cut, out]);
    expect(partial.stderr).toMatch(/beyond|within the file/);
    expect(partial.status).toBe(0);
  });
});

describe("an image without a guest's state", () => {
  it("is named as such", () => {
    const file = path.join(folder, "disk.qcow2");
    fs.writeFileSync(file, makeImage({ snapshots: [{ id: "1", name: "d", state: new Uint8Array(0) }] }));
    expect(runCli(["inspect", file]).stdout).toMatch(/disk only/);
    const { status, stderr } = runCli(["extract", file, path.join(folder, "no.elf")]);
    expect([status, stderr]).toEqual([1, expect.stringContaining("disk/qcow2/no-state")]);
    fs.writeFileSync(file, makeImage({ snapshots: [{ id: "1", name: "x", state: sampleBytes(5000) }] }));
    expect(runCli(["verify", file]).stdout).toMatch(/disk\/qcow2\/unknown-state/);
  });
});
