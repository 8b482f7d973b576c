import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { compressUsingDict, createCCtx, init } from "@bokuweb/zstd-wasm";
import { hasProgram, sharedData, unzstd } from "../test/shared.js";
import { missing, record } from "./figures.js";
import { clearOutput, compare, GUESTSCOPE, inMemory, recordPeak, timeShell } from "./harness.js";
import { makeMixedGuest } from "./make-mixed-guest.js";

const PAGE = 4096;
const MIB = 1 << 20;
const SIZE = 2048 * MIB;
/** The library gets its pages from memory, read before its clock runs. */
const READ = 64 * MIB;
/** A worker's buffers: four batches of pages, their packed forms, the library's own state. */
const WORKER_MIB = 40;
const BASE_MIB = 150;

type Library = (page: Uint8Array) => Uint8Array;

/** The libraries as their users call them: windows of a page's size for zlib, one context for all pages for zstd. */
const LIBRARIES: Readonly<Record<"zlib" | "zstd", () => Promise<Library>>> = {
  zlib: async () => (page) => zlib.deflateSync(page, { level: 1, windowBits: 12 }),
  zstd: async () => {
    await init();
    const context = createCCtx();
    const none = new Uint8Array(0);
    return (page) => compressUsingDict(context, page, none, 1);
  },
};

/** Seconds that the library itself takes for the pages of `size` bytes that are not zero, in one thread. */
function librarySeconds(file: string, compress: Library, size: number): number {
  const pages = Buffer.alloc(READ);
  const fd = fs.openSync(file, "r");
  let seconds = 0;
  let packed = 0;
  for (let from = 0; from < size; from += READ) {
    fs.readSync(fd, pages, 0, READ, PAGE + from);
    const began = performance.now();
    for (let at = PAGE; at < READ; at += 2 * PAGE) packed += compress(pages.subarray(at, at + PAGE)).length;
    seconds += (performance.now() - began) / 1000;
  }
  fs.closeSync(fd);
  // noise keeps its size, so an eighth of memory is the least
  if (packed < size / 8) throw new Error(`bench: the library packed to ${packed} bytes`);
  return seconds;
}

/** What the report says of this bench, and programs that it compares with. */
export const title =
  "kdump-compressed dumps written by worker threads, against the compression libraries and makedumpfile.";
export const peers = ["makedumpfile"];

/** kdump writing against what the compression library does alone in one thread. */
export async function run(): Promise<void> {
  const cores = os.availableParallelism();
  await inMemory(async (folder) => {
    const elf = path.join(folder, "guest.elf");
    makeMixedGuest(elf, SIZE);
    for (const name of ["zlib", "zstd"] as const) {
      const compress = await LIBRARIES[name]();
      // once unmeasured: compiled and warm
      librarySeconds(elf, compress, SIZE / 8);
      const out = path.join(folder, `guest.${name}`);
      const command = `${GUESTSCOPE} extract -q --force --to kdump --compress ${name} --level 1 ${elf} ${out}`;
      const clear = clearOutput(out, 500);
      timeShell(command);
      const ratios: number[] = [];
      for (let round = 0; round < 5; round += 1) {
        // side by side in time, so that other load weighs on both
        const library = librarySeconds(elf, compress, SIZE);
        timeShell(clear);
        ratios.push(library / cores / timeShell(command));
      }
      record({
        name: `kdump ${name} level 1, 2 GiB`,
        values: ratios,
        unit: "×",
        peer: `${cores} cores × the library in one thread`,
        least: 0.8,
      });
      recordPeak({ name: `kdump ${name}: memory`, most: BASE_MIB + cores * WORKER_MIB }, command);
      const verified = spawnSync("bash", ["-c", `${GUESTSCOPE} verify -q ${out}`]);
      if (verified.status !== 0) throw new Error(`bench: ${out} does not verify`);
    }
    fs.rmSync(elf);
    againstMakedumpfile(folder);
  });
}

/** A Linux guest's dump packed by both, from the same ELF vmcore, every page of it. */
function againstMakedumpfile(folder: string): void {
  const packed = path.join(sharedData, "xen-v3/hvmlinux.save.zst");
  if (!hasProgram("makedumpfile") || !fs.existsSync(packed)) {
    missing("makedumpfile", "makedumpfile, and the guest hvmlinux of the shared data");
    return;
  }
  const [elf, out] = [path.join(folder, "linux.elf"), path.join(folder, "linux.kdump")];
  timeShell(`${GUESTSCOPE} extract -q ${unzstd(packed, folder)} ${elf}`);
  for (const [option, codec, limit] of [
    ["-c", "zlib", undefined],
    [
      "-l",
      "lzo",
      "starting the program and opening the guest is 0.2 s, longer than makedumpfile takes in all (0.14 s); packing in JavaScript takes 0.36 s in one thread (matches 0.23, literals and the rest 0.13)",
    ],
  ] as const)
    compare({
      name: `kdump (${codec}) of a Linux guest of ${Math.round(fs.statSync(elf).size / MIB)} MiB`,
      ours: `${GUESTSCOPE} extract -q --to kdump --compress ${codec} ${elf} ${out}`,
      peer: `makedumpfile ${option} -d 0 ${elf} ${out}`,
      peerName: `makedumpfile ${option}`,
      prepare: `rm -f ${out}`,
      bar: 1,
      limit,
    });
}
