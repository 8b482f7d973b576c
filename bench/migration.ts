import * as fs from "node:fs";
import * as path from "node:path";
import { openFile } from "../src/io/node/files.js";
import { qemuMigration } from "../src/qemu/migration/format.js";
import {
  clearOutput,
  compare,
  GUESTSCOPE,
  inMemory,
  median,
  medianSeconds,
  peakMemory,
  record,
} from "./harness.js";
import { makeQevm } from "./make-qevm.js";

const MIB = 1 << 20;
const MEMORY_BAR = 150;

/** Median seconds of reading all of a stream's memory, once it is open. */
async function decodingSeconds(file: string): Promise<number> {
  const seconds: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const source = openFile(file);
    const guest = await qemuMigration.reader.openGuest(source, {});
    const began = performance.now();
    for await (const piece of guest?.memory.pieces() ?? []) if (piece.bytes === undefined) break;
    if (round > 0) seconds.push((performance.now() - began) / 1000);
    source.close();
  }
  return median(seconds);
}

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
      bar: 0.8,
    });
    const peak = peakMemory(`${ours} --force`);
    if (peak !== undefined)
      record("extract: memory", `${peak.toFixed(0)} MiB`, `<= ${MEMORY_BAR} MiB`, peak <= MEMORY_BAR);
    fs.rmSync(out, { force: true });
    fs.rmSync(stream);

    const deltas = path.join(folder, "xbzrle.qevm");
    const size = 512 * MIB;
    const rounds = 3;
    makeQevm(deltas, size, rounds);
    const rate = size / 1e6 / (await decodingSeconds(deltas));
    record(
      `decode: pages made of a plain one and ${rounds} XBZRLE differences`,
      `${rate.toFixed(0)} MB/s`,
      ">= 300 MB/s of finished pages",
      rate >= 300,
    );
    const whole = size / 1e6 / medianSeconds(`${GUESTSCOPE} extract -q --force ${deltas} ${out}`, 3);
    record("extract: the same to ELF, start and index included", `${whole.toFixed(0)} MB/s`);
    const memory = peakMemory(`${GUESTSCOPE} extract -q --force ${deltas} ${out}`);
    if (memory !== undefined)
      record(
        "extract: memory, XBZRLE",
        `${memory.toFixed(0)} MiB`,
        `<= ${MEMORY_BAR} MiB`,
        memory <= MEMORY_BAR,
      );
  });
}
