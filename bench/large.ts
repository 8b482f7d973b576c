import * as fs from "node:fs";
import * as path from "node:path";
import { hasProgram } from "../test/shared.js";
import { missing, record } from "./figures.js";
import { GUESTSCOPE, inMemory, recordPeak, timeShell } from "./harness.js";
import { domainHeader, imageHeader, recordHeader } from "../src/xen/libxc/layout.js";
import { writeXenSave } from "./make-xen-save.js";

const PAGE = 4096;
const MIB = 1 << 20;
const GIB = 2 ** 30;
/** Pages of a record, and rounds of a live save. */
const BATCH = 1024;
const ROUNDS = 40;
const MEMORY_BAR = 150;
/** Room that the sparse streams and the packed one take. */
const ROOM = 4 * GIB;

/** What the report says of this bench, and programs that it compares with. */
export const title =
  "What is large: guests of a tebibyte, whose index of pages spills to a file, and packed inputs of ten gibibytes, read while they are unpacked.";
export const peers = ["zstd", "xz"];

/** Guests and packed inputs that don't fit memory. */
export async function run(): Promise<void> {
  const { bavail, bsize } = fs.statfsSync("/dev/shm");
  if (bavail * bsize < ROOM) {
    missing("large guests and packed inputs", `${ROOM / GIB} GiB of room in /dev/shm`);
    return;
  }
  for (const [gib, order] of [
    [64, "shuffled"],
    [128, "shuffled"],
    [1024, "ascending"],
    [256, "shuffled"],
  ] as const)
    await inMemory(async (folder) => {
      const save = path.join(folder, "guest.save");
      writeXenSave(save, { pages: (gib * GIB) / PAGE, order, sparse: true });
      const command = `${GUESTSCOPE} extract -q --force --vmcoreinfo none --range 0-0x100000 ${save} ${path.join(folder, "out")}`;
      const name = `${gib} GiB guest, pages ${order}, index and 1 MiB of memory`;
      const seconds = onceWithPeak(`${name}: memory`, command, gib === 64 ? 156 : undefined);
      record({ name: `${name}: pages a second`, values: [(gib * GIB) / PAGE / seconds], unit: "/s" });
    });
  for (const [name, pack] of [
    ["zstd", "zstd -q -T0 -1 --long=27"],
    ["xz", "xz -T0 --lzma2=preset=0,dict=8MiB --block-size=64MiB"],
  ] as const)
    if (hasProgram(name)) await inMemory(async (folder) => packed(folder, name, pack));
    else missing(`10 GiB packed by ${name}`, name);
}

/** Records the peak memory of one run, which takes minutes; gives its seconds. */
function onceWithPeak(name: string, command: string, before?: number): number {
  const began = performance.now();
  recordPeak({ name, most: MEMORY_BAR, before }, command, 1);
  return (performance.now() - began) / 1000;
}

/** A stream of 10 GiB, as a live save that sends 256 MiB of pages again and again, packed and verified from its file. */
function packed(folder: string, name: string, pack: string): void {
  const part = path.join(folder, "part");
  const pages = (256 * MIB) / PAGE;
  writeXenSave(part, { pages, order: "ascending" });
  const head = imageHeader.size + domainHeader.size + recordHeader.size;
  const body = (pages / BATCH) * (recordHeader.size + 8 + BATCH * (8 + PAGE));
  const file = path.join(folder, `guest.${name}`);
  const again = `for i in $(seq ${ROUNDS}); do tail -c +${head + 1} ${part} | head -c ${body}; done`;
  // head and tail end each other by SIGPIPE
  timeShell(
    `set +o pipefail; { head -c ${head} ${part}; ${again}; tail -c +${head + body + 1} ${part}; } | ${pack} > ${file}`,
  );
  fs.rmSync(part);
  // the made-up guest has no processor, which verify finds
  const command = `sh -c '${GUESTSCOPE} verify -q ${file} || [ $? = 1 ]'`;
  const what = `10 GiB packed by ${name}, verified while it is unpacked`;
  const seconds = onceWithPeak(`${what}: memory`, command);
  record({ name: what, values: [(10 * GIB) / 1e6 / seconds], unit: "MB/s" });
}
