import * as path from "node:path";
import { openFile } from "../src/io/node/files.js";
import { openGuest } from "../src/open/open.js";
import { clearOutput, compare, GUESTSCOPE, inMemory, peakMemory, record } from "./harness.js";
import { writeXenSave } from "./make-xen-save.js";

const GIB = 2 ** 30;
const PAGE = 4096;

/** Pages read per second at random places of an indexed guest. */
async function randomReads(file: string): Promise<number> {
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
  const began = performance.now();
  const count = 500_000;
  await read(count);
  const perSecond = count / ((performance.now() - began) / 1000);
  await guest.close?.();
  source.close();
  return perSecond;
}

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
      bar: 0.8,
    });
    const extracting = peakMemory(`${GUESTSCOPE} extract --quiet --force ${save} ${out}`);
    if (extracting !== undefined)
      record("peak memory of that extraction", `${extracting.toFixed(0)} MiB`, "bar 150", extracting < 150);
    const perSecond = await randomReads(save);
    record(
      "random reads of 4 KiB pages, 2 GiB guest",
      `${Math.round(perSecond)}/s`,
      "bar 200000",
      perSecond >= 200_000,
    );
  });
  for (const order of ["ascending", "shuffled"] as const) {
    await inMemory(async (folder) => {
      const save = path.join(folder, "large.save");
      writeXenSave(save, { pages: (64 * GIB) / PAGE, order, sparse: true });
      const peak = peakMemory(
        `${GUESTSCOPE} extract --quiet --range 0-0x100000 ${save} ${path.join(folder, "out")}`,
      );
      if (peak === undefined) return;
      record(`peak memory, 64 GiB guest, pages ${order}`, `${peak.toFixed(0)} MiB`, "bar 150", peak < 150);
    });
  }
}
