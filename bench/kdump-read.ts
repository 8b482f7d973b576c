import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { installNodeCodecs } from "../src/io/node/codecs.js";
import { loadDecompressor } from "../src/io/codecs/codec.js";
import { openFile } from "../src/io/node/files.js";
import { openKdump } from "../src/vmcore/kdump/open.js";
import { hasProgram } from "../test/shared.js";
import { missing, record } from "./figures.js";
import { clearOutput, compare, GUESTSCOPE, inMemory, recordPeak, timeShell } from "./harness.js";
import { makeMixedGuest } from "./make-mixed-guest.js";

const MIB = 1 << 20;
const SIZE = 2048 * MIB;
const ROUNDS = 3;
const WORKER_MIB = 40;
const BASE_MIB = 150;

/** A program of libkdumpfile that does what `extract --to raw` does: every page there is, to its address. */
const PEER = `
#include <fcntl.h>
#include <libkdumpfile/kdumpfile.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	static char page[1 << 20];
	kdump_ctx_t *ctx = kdump_new();
	kdump_num_t frames, size;
	int out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (kdump_open_fd(ctx, open(argv[1], O_RDONLY)) != KDUMP_OK ||
	    kdump_get_number_attr(ctx, "max_pfn", &frames) != KDUMP_OK ||
	    kdump_get_number_attr(ctx, "arch.page_size", &size) != KDUMP_OK)
		return 1;
	for (kdump_num_t pfn = 0; pfn < frames; pfn++) {
		size_t length = size;
		if (kdump_read(ctx, KDUMP_MACHPHYSADDR, pfn * size, page, &length) != KDUMP_OK ||
		    pwrite(out, page, size, pfn * size) != (ssize_t) size)
			return 1;
	}
	return 0;
}
`;

/** What the report says of this bench, and programs that it compares with. */
export const title =
  "kdump-compressed dumps of 2 GiB, half of it zeros, read: by one thread and by several, against libkdumpfile and the decompressors.";
export const peers = ["libkdumpfile", "gcc"];

/** The library's program; undefined where it can't be compiled. */
function compilePeer(folder: string): string | undefined {
  const program = path.join(folder, "peer");
  fs.writeFileSync(`${program}.c`, PEER);
  if (!hasProgram("gcc")) return undefined;
  try {
    execFileSync("gcc", ["-O2", "-w", "-o", program, `${program}.c`, "-lkdumpfile"], { stdio: "ignore" });
    return program;
  } catch {
    return undefined;
  }
}

/** Seconds that the decompressor itself takes, in one thread, for the packed pages of a dump, read before its clock runs. */
async function librarySeconds(file: string, codec: "zlib" | "zstd"): Promise<number> {
  const source = openFile(file);
  const { pagesOf, counts } = await openKdump(source, {});
  const decompress = await loadDecompressor(codec);
  const pages = pagesOf(0);
  let seconds = 0;
  let batch: Uint8Array[] = [];
  const unpack = (): void => {
    const began = performance.now();
    for (const packed of batch) decompress(packed, 4096);
    seconds += (performance.now() - began) / 1000;
    batch = [];
  };
  for (let token = 0; token < counts.dumped; token += 1) {
    const found = pages.descriptor(token);
    const { offset, size, flags } = found instanceof Promise ? await found : found;
    if (flags === 0) continue;
    const packed = new Uint8Array(size);
    await source.read(offset, packed);
    batch.push(packed);
    if (batch.length === 4096) unpack();
  }
  unpack();
  source.close();
  return seconds;
}

/** kdumps unpacked. */
export async function run(): Promise<void> {
  installNodeCodecs();
  const cores = os.availableParallelism();
  await inMemory(async (folder) => {
    const [elf, out] = [path.join(folder, "guest.elf"), path.join(folder, "out")];
    const dumps = { zlib: path.join(folder, "guest.zlib"), zstd: path.join(folder, "guest.zstd") };
    makeMixedGuest(elf, SIZE);
    for (const [name, file] of Object.entries(dumps))
      timeShell(`${GUESTSCOPE} extract -q --to kdump --compress ${name} --level 1 ${elf} ${file}`);
    fs.rmSync(elf);
    const prepare = clearOutput(out, 1200);
    for (const name of ["zlib", "zstd"] as const) {
      const file = dumps[name];
      compare({
        name: `kdump (${name}) → ELF by ${cores} threads`,
        ours: `${GUESTSCOPE} extract -q --threads ${cores} ${file} ${out}`,
        peer: `${GUESTSCOPE} extract -q --threads 1 ${file} ${out}`,
        peerName: "one thread",
        prepare,
        bar: 1.7,
        before: 1,
        rounds: ROUNDS,
        limit:
          "starting the program and reading the descriptors is 0.22 s of 3.4 that one processor does alone, so 1.9 would be all; threads wait for each other for the rest, 0.05 to 0.35 s",
      });
      const ratios: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        const library = await librarySeconds(file, name);
        timeShell(prepare);
        ratios.push(library / cores / timeShell(`${GUESTSCOPE} extract -q ${file} ${out}`));
      }
      record({
        name: `kdump (${name}) → ELF`,
        values: ratios,
        unit: "×",
        peer: `${cores} cores × the decompressor in one thread`,
        least: 0.8,
        limit:
          "the decompressor writes nothing: to /dev/null instead of a file of 1 GiB it is 0.79 to 0.88 (zstd); the kernel's writing takes 0.7 to 0.9 s of 6.4 s of processor time, and 0.22 s of the start are one processor's",
      });
      recordPeak(
        { name: `kdump (${name}) → ELF: memory`, most: BASE_MIB + cores * WORKER_MIB },
        `${GUESTSCOPE} extract -q --force ${file} ${out}`,
      );
    }
    const peer = compilePeer(folder);
    if (peer === undefined) missing("libkdumpfile", "gcc and libkdumpfile-dev");
    else {
      const ours = `${GUESTSCOPE} extract -q --force --to raw ${dumps.zlib} ${out}`;
      timeShell(
        `rm -f ${out}; ${ours}; mv ${out} ${out}.ours; ${peer} ${dumps.zlib} ${out}; cmp ${out} ${out}.ours; rm ${out}.ours`,
      );
      compare({
        name: "kdump (zlib) → raw",
        ours,
        peer: `${peer} ${dumps.zlib} ${out}`,
        peerName: "libkdumpfile, each page to its address",
        prepare: clearOutput(out, 2100),
        rounds: ROUNDS,
      });
    }
  });
}
