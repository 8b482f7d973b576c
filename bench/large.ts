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
      const before = gib === 64 ? 156 : undefined;
      const seconds = onceWithPeak({ name: `${name}: memory`, before }, command);
      record({ name: `${name}: pages a second`, values: [(gib * GIB) / PAGE / seconds], unit: "/s" });
    });
  for (const packing of PACKINGS)
    if (hasProgram(packing.program)) await inMemory(async (folder) => packed(folder, packing));
    else missing(`10 GiB packed by ${packing.name}`, packing.program);
}

/** A way to pack ten gibibytes. */
interface Packing {
  readonly name: string;
  readonly program: string;
  readonly command: string;
  /** The rounds are packed once and their files joined, for packing them all takes minutes. */
  readonly isJoined?: boolean;
  /** Why it takes more memory than the bar. */
  readonly limit?: string;
}

const PACKINGS: readonly Packing[] = [
  // the largest window of levels up to 19
  { name: "zstd", program: "zstd", command: "zstd -q -T0 -1 --long=23" },
  {
    name: "zstd --long=27",
    program: "zstd",
    command: "zstd -q -T0 -1 --long=27",
    limit: "the file asks its reader to keep a window of 128 MiB; zstd itself takes 132 MiB to unpack it",
  },
  {
    name: "xz by threads",
    program: "xz",
    command: "xz -T0 --lzma2=preset=0,dict=8MiB --block-size=64MiB",
    isJoined: true,
  },
];

/** Records the peak memory of one run, which takes minutes; gives its seconds. */
function onceWithPeak(figure: Parameters<typeof recordPeak>[0], command: string): number {
  const began = performance.now();
  recordPeak({ ...figure, most: MEMORY_BAR }, command, 1);
  return (performance.now() - began) / 1000;
}

/** A stream of 10 GiB, as a live save that sends 256 MiB of pages again and again, packed and verified from its file. */
function packed(folder: string, { name, command, isJoined, limit }: Packing): void {
  const part = path.join(folder, "part");
  const once = path.join(folder, "once");
  const file = path.join(folder, "guest");
  const pages = (256 * MIB) / PAGE;
  writeXenSave(part, { pages, order: "ascending", vcpu: true });
  const headBytes = imageHeader.size + domainHeader.size + recordHeader.size;
  const bodyBytes = (pages / BATCH) * (recordHeader.size + 8 + BATCH * (8 + PAGE));
  const head = `head -c ${headBytes} ${part}`;
  const body = `tail -c +${headBytes + 1} ${part} | head -c ${bodyBytes}`;
  const tail = `tail -c +${headBytes + bodyBytes + 1} ${part}`;
  const rounds = `for i in $(seq ${ROUNDS}); do`;
  const packing =
    isJoined === true
      ? `${body} | ${command} > ${once}; { ${head} | ${command}; ${rounds} cat ${once}; done; ${tail} | ${command}; } > ${file}`
      : `{ ${head}; ${rounds} ${body}; done; ${tail}; } | ${command} > ${file}`;
  // head and tail end each other by SIGPIPE
  timeShell(`set +o pipefail; ${packing}`);
  fs.rmSync(part);
  const verify = `${GUESTSCOPE} verify -q ${file}`;
  const what = `10 GiB packed by ${name}, verified while it is unpacked`;
  const seconds = onceWithPeak({ name: `${what}: memory`, limit }, verify);
  record({ name: what, values: [(10 * GIB) / 1e6 / seconds], unit: "MB/s" });
}
