import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Qcow2Inspection } from "../../../src/disk/qcow2/inspect.js";
import { Report } from "../../../src/findings/report.js";
import { readImage } from "../../../src/disk/qcow2/read.js";
import { VirtualSource } from "../../../src/disk/qcow2/state.js";
import { readFully } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import { inspect, openGuest, verify } from "../../../src/open/open.js";
import { Emulator } from "../../qemu/migration/emulator.js";
import { hasProgram, scratch, skipUnless } from "../../shared.js";
import { qemuSnapshots } from "./qemu-snapshots.js";
import { sampleBytes } from "./qcow2-maker.js";

const noQemuImg = skipUnless(hasProgram("qemu-img") && hasProgram("qemu-io"), "qemu-img and qemu-io");
const noQemu = skipUnless(hasProgram("qemu-system-x86_64"), "qemu-system-x86_64") || noQemuImg;

const { folder, cleanup } = scratch();
afterAll(cleanup);

const at = (name: string): string => path.join(folder, name);
const qemuImg = (...args: string[]): string => execFileSync("qemu-img", args, { encoding: "utf8" });

/** Image options that QEMU 7.2 makes. */
const FORMS: readonly (readonly [name: string, options: string])[] = [
  ["version 2", "compat=0.10"],
  ["512-byte clusters", "cluster_size=512"],
  ["2 MiB clusters", "cluster_size=2M"],
  ["extended L2", "extended_l2=on"],
  ["extended L2 with 16 KiB clusters", "extended_l2=on,cluster_size=16k"],
  ["zstd", "compression_type=zstd"],
  ["refcounts of 64 bits", "refcount_bits=64"],
];

describe.skipIf(noQemuImg)("clusters, against what qemu-img reads", () => {
  it.each(FORMS)("%s: written, zeroed and compressed", async (name, options) => {
    const file = at(`disk ${name}.qcow2`);
    const raw = at("input.raw");
    const size = 9 << 20;
    const bytes = sampleBytes(size);
    bytes.fill(0, 3 << 20, 5 << 20);
    fs.writeFileSync(raw, bytes);
    qemuImg("convert", "-q", "-c", "-O", "qcow2", "-o", options, raw, file);
    // over the compressed clusters: parts of some, zeros, and small ones in the hole
    const commands = [
      "write -P 0x11 100k 3k",
      "write -P 0x12 1M 300k",
      "write -P 0x13 3500k 512",
      "write -P 0x14 4000k 70000",
      ...(options.includes("compat=0.10") ? [] : ["write -z 2M 256k", "write -z 300k 2k"]),
    ];
    execFileSync("qemu-io", ["-f", "qcow2", ...commands.flatMap((command) => ["-c", command]), file]);
    const expected = at("expected.raw");
    qemuImg("convert", "-q", "-f", "qcow2", "-O", "raw", file, expected);

    const { source, header } = await readImage(openFile(file), new Report("disk"));
    const disk = new VirtualSource(source, header, { l1: header.l1, start: 0, size }, "disk");
    const found = new Uint8Array(size);
    expect(await readFully(disk, 0, found)).toBe(size);
    expect(Buffer.compare(found, fs.readFileSync(expected))).toBe(0);
  });
});

describe.skipIf(noQemu)("snapshots of a running QEMU", () => {
  it.each(FORMS)("%s: savevm, resized, and disk snapshots beside", async (name, options) => {
    const file = at(`guest ${name}.qcow2`);
    qemuImg("create", "-q", "-f", "qcow2", "-o", options, file, "40M");
    const args = ["-machine", "pc", "-m", "4", "-smp", "2", "-drive", `file=${file},format=qcow2,if=virtio`];
    const emulator = await Emulator.start("qemu-system-x86_64", args);
    const dumps = [at("one.ref"), at("two.ref")];
    try {
      for (const [i, dump] of dumps.entries()) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        await emulator.execute("stop");
        expect(await emulator.monitor(`savevm state${i}`)).toBe("");
        fs.rmSync(dump, { force: true });
        await emulator.execute("dump-guest-memory", { paging: false, protocol: `file:${dump}` });
        await emulator.execute("cont");
      }
    } finally {
      await emulator.end();
    }
    qemuImg("snapshot", "-c", "disk only", file);
    // QEMU refuses to resize a version 2 image with snapshots
    if (!options.includes("compat=0.10")) qemuImg("resize", "-q", "--shrink", file, "1M");

    const { snapshots } = ((await inspect(openFile(file))) as Qcow2Inspection).details;
    expect(snapshots.map(({ diskSize: _size, ...rest }) => rest)).toEqual(qemuSnapshots(file));
    expect(snapshots.map(({ stateSize }) => stateSize > 0)).toEqual([true, true, false]);
    for (const [i, dump] of dumps.entries()) {
      const guest = await openGuest(openFile(file), { qcow2: { snapshot: `state${i}` } });
      const reference = await openGuest(openFile(dump));
      for await (const piece of reference.memory.pieces()) {
        const bytes = new Uint8Array(piece.length);
        expect(await guest.memory.read(piece.gpa, bytes)).toBe(piece.length);
        expect(Buffer.compare(bytes, piece.bytes ?? new Uint8Array(piece.length))).toBe(0);
      }
      expect(guest.vcpus.length).toBe(2);
    }
    const { report } = await verify(openFile(file));
    expect(report.findings.filter(({ severity }) => severity !== "note")).toEqual([]);
  });
});
