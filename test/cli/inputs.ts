import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { expect } from "vitest";
import { fixtures, hasShared, runCli, scratch, sharedData, unzstd } from "../shared.js";

/** Where the inputs are unpacked; removed by `cleanup`. */
export const { folder, cleanup } = scratch();

/** Path of a fixture. */
export const fixture = (name: string): string => path.join(fixtures, name);
/** Path of an unpacked file of the shared data. */
export const shared = (name: string): string => unzstd(path.join(sharedData, name), folder);

function converted(): string {
  const legacy = path.join(folder, "web01.legacy");
  fs.writeFileSync(legacy, zlib.gunzipSync(fs.readFileSync(fixture("demo/web01.legacy.gz"))));
  const save = path.join(folder, "web01.save");
  expect(runCli(["convert", "--force", legacy, save]).status).toBe(0);
  return save;
}

/** One input of each kind, by the options that open it. */
export const INPUTS: Readonly<Record<string, () => readonly string[]>> = {
  "xen-stream": () => [converted()],
  "xen-legacy": () => [fixture("demo/web01.legacy.gz")],
  "qemu-migration": () => [fixture("qemu-migration/tiny-compress.qevm.gz")],
  "libvirt save": () => [fixture("libvirt-save/nodes-and-dimm.save")],
  "elf-vmcore": () => [fixture("linux/panic-6.1.elf.xz")],
  "elf-vmcore of aarch64": () => [fixture("linux/arm64-6.12.elf.xz")],
  lime: () => {
    const dump = path.join(folder, "panic.lime");
    const made = runCli(["extract", "--force", "--partial", fixture("linux/panic-6.1.elf.xz"), dump]);
    expect(made.status).toBeLessThan(2);
    return [dump];
  },
  kdump: () => [fixture("vmcore/tiny-split.lzo.flat.gz")],
  ...(hasShared
    ? {
        qcow2: () => [shared("field/savevm.qcow2.zst")],
        avml: () => [shared("field/compressed.avml.zst")],
        raw: () => ["--format", "raw", shared("field/padded.lime.zst")],
        "xen-core": () => [shared("xen-v3/hvm64.core.zst")],
        "qemu-core": () => [
          "--debug-file",
          shared("qemu-core/debug/qemu-system-x86_64.debug.zst"),
          unzstd(path.join(sharedData, "qemu-core/tiny-pc/core.zst"), folder, { name: "tiny.core" }),
        ],
      }
    : {}),
};
