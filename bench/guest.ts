import * as path from "node:path";
import { openFile } from "../src/io/node/files.js";
import { openGuest } from "../src/open/open.js";
import { record } from "./figures.js";
import { clearOutput, compare, GUESTSCOPE, inMemory, recordPeak, onDisk, timeShell } from "./harness.js";
import { writeXenSave } from "./make-xen-save.js";

const GIB = 2 ** 30;
const PAGE = 4096;

/** Pages read per second at random places of an indexed guest, in a few runs. */
async function randomReads(file: string): Promise<number[]> {
  const source = openFile(file);
  const guest = await openGuest(source);
  const into = new Uint8Array(PAGE);
  const pages = (2 * GIB) / PAGE;
  let place = 1;
  const read = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i += 1) {
      place = (Math.imul(place, 1664525) + 1013904223) >>> 0;
      const n = guest.memory.read((place % pages) * PAGE, into);
      if ((n instanceof Promise ? await n : n) !== PAGE) throw new Error("bench: a page is missing");
    }
  };
  await read(50_000);
  const rates: number[] = [];
  const count = 200_000;
  for (let round = 0; round < 3; round += 1) {
    const began = performance.now();
    await read(count);
    rates.push(count / ((performance.now() - began) / 1000));
  }
  await guest.close?.();
  source.close();
  return rates;
}

/** What the report says of this bench, and programs that it compares with. */
export const title =
  "Xen saves of a guest as vmcores, random reads of them, and the memory that their index takes.";
export const peers = ["dd"];

/** Xen saves as vmcores: extraction, random reads, memory of the index. */
export async function run(): Promise<void> {
  await inMemory(async (folder) => {
    const save = path.join(folder, "guest.save");
    const out = path.join(folder, "out");
    writeXenSave(save, { pages: (2 * GIB) / PAGE, order: "ascending" });
    compare({
      name: "Xen save, 2 GiB, half zeros → ELF",
      ours: `${GUESTSCOPE} extract --quiet --force ${save} ${out}`,
      peer: `dd if=${save} of=${out} bs=4M`,
      peerName: "dd bs=4M",
      prepare: clearOutput(out, 2100),
      before: 0.67,
      bar: 0.8,
    });
    recordPeak(
      { name: "memory of that extraction", most: 150 },
      `${GUESTSCOPE} extract --quiet --force ${save} ${out}`,
    );
    record({
      name: "random reads of 4 KiB pages, 2 GiB guest",
      values: await randomReads(save),
      unit: "/s",
      least: 200_000,
    });
    const elf = path.join(folder, "guest.elf");
    writeXenSave(save, { pages: (2 * GIB) / PAGE, order: "ascending", full: true });
    timeShell(`rm -f ${out} && ${GUESTSCOPE} extract --quiet ${save} ${elf} && rm ${save}`);
    compare({
      name: "ELF, 2 GiB, no zeros → ELF",
      ours: `${GUESTSCOPE} extract --quiet --force ${elf} ${out}`,
      peer: `dd if=${elf} of=${out} bs=4M`,
      peerName: "dd bs=4M",
      prepare: clearOutput(out, 2100),
      bar: 0.9,
    });
  });
  await onDisk(async (folder) => {
    const save = path.join(folder, "guest.save");
    const out = path.join(folder, "out");
    writeXenSave(save, { pages: GIB / PAGE, order: "ascending", full: true });
    // what is cached is no disk's speed
    const forget = `sync -d ${save} && dd if=${save} iflag=nocache count=0`;
    compare({
      name: "Xen save, 1 GiB, no zeros, from a disk to the disk → ELF",
      ours: `${GUESTSCOPE} extract --quiet --force ${save} ${out} && sync -d ${out}`,
      peer: `dd if=${save} of=${out} bs=4M && sync -d ${out}`,
      peerName: "dd bs=4M",
      prepare: `rm -f ${out}; ${forget}`,
      bar: 0.8,
      rounds: 3,
    });
  });
  for (const order of ["ascending", "shuffled"] as const) {
    await inMemory(async (folder) => {
      const save = path.join(folder, "large.save");
      writeXenSave(save, { pages: (64 * GIB) / PAGE, order, sparse: true });
      recordPeak(
        { name: `memory, 64 GiB guest, pages ${order}`, most: 150 },
        `${GUESTSCOPE} extract --quiet --force --range 0-0x100000 ${save} ${path.join(folder, "out")}`,
      );
    });
  }
}
