import * as fs from "node:fs";
import * as path from "node:path";
import { openFile } from "../src/io/node/files.js";
import { qemuMigration } from "../src/qemu/migration/format.js";
import { record } from "./figures.js";
import { clearOutput, compare, GUESTSCOPE, inMemory, recordPeak, secondsOf } from "./harness.js";
import { makeMappedRam, makeQevm } from "./make-qevm.js";

const MIB = 1 << 20;
const MEMORY_BAR = 150;

/** Seconds of reading all of a stream's memory, once it is open, in a few runs. */
async function decodingSeconds(file: string): Promise<number[]> {
  const seconds: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const source = openFile(file);
    const guest = await qemuMigration.reader.openGuest(source, {});
    const began = performance.now();
    for await (const piece of guest?.memory.pieces() ?? []) if (piece.bytes === undefined) break;
    if (round > 0) seconds.push((performance.now() - began) / 1000);
    source.close();
  }
  return seconds;
}

/** What the report says of this bench, and programs that it compares with. */
export const title =
  "QEMU migration streams as vmcores: plain pages against a copy of the file, and pages made of differences.";
export const peers = ["dd"];

/** Guests out of QEMU migration streams: plain pages against dd, and differences. */
export async function run(): Promise<void> {
  await inMemory(async (folder) => {
    const stream = path.join(folder, "plain.qevm");
    const out = path.join(folder, "out");
    makeQevm(stream, 2048 * MIB);
    const ours = `${GUESTSCOPE} extract -q ${stream} ${out}`;
    compare({
      name: "extract: 2 GiB stream of plain pages, to ELF",
      ours,
      peer: `dd if=${stream} of=${out} bs=4M status=none`,
      peerName: "dd bs=4M",
      prepare: clearOutput(out, 2100),
      before: 0.45,
      limit:
        "headers are between the pages, so the index reads all of the file once more: 0.37 s of one processor, at best half of that with two, 0.25 to 0.33 s with what is done with them; and pages are moved together (0.1 to 0.14 s)",
      bar: 0.8,
    });
    recordPeak({ name: "extract: memory", most: MEMORY_BAR }, `${ours} --force`);
    fs.rmSync(out, { force: true });
    fs.rmSync(stream);

    const mapped = path.join(folder, "mapped.qevm");
    makeMappedRam(mapped, 2048 * MIB);
    compare({
      name: "extract: 2 GiB mapped-ram file, to ELF",
      ours: `${GUESTSCOPE} extract -q ${mapped} ${out}`,
      peer: `dd if=${mapped} of=${out} bs=4M status=none`,
      peerName: "dd bs=4M",
      prepare: clearOutput(out, 2100),
      before: 0.64,
      bar: 0.9,
    });
    for (const file of [mapped, out]) fs.rmSync(file, { force: true });

    const deltas = path.join(folder, "xbzrle.qevm");
    const size = 512 * MIB;
    const rounds = 3;
    makeQevm(deltas, size, rounds);
    const rate = (seconds: number): number => size / 1e6 / seconds;
    record({
      name: `decode: finished pages, of a plain one and ${rounds} XBZRLE differences each`,
      values: (await decodingSeconds(deltas)).map(rate),
      unit: "MB/s",
      least: 300,
    });
    const extract = `${GUESTSCOPE} extract -q --force ${deltas} ${out}`;
    record({
      name: "extract: the same to ELF, start and index included",
      values: secondsOf(extract, 3).map(rate),
      unit: "MB/s",
    });
    recordPeak({ name: "extract: memory, XBZRLE", most: MEMORY_BAR }, extract);
  });
}
