import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { parseVmcoreInfo } from "../src/guest/kernel/vmcoreinfo.js";
import { openFile } from "../src/io/node/files.js";
import { AddressSpace } from "../src/linux/address-space.js";
import { Btf } from "../src/linux/btf.js";
import { readKernelBtf } from "../src/linux/btf-find.js";
import { CachedMemory } from "../src/guest/cached-memory.js";
import { readKallsyms } from "../src/linux/kallsyms-find.js";
import { kernelPaging } from "../src/linux/kernel-tables.js";
import { openGuest } from "../src/open/open.js";
import { hasProgram, sharedData, unzstd } from "../test/shared.js";
import { missing, record } from "./figures.js";
import { compare, GUESTSCOPE, inMemory, recordPeak, secondsOf, timeShell } from "./harness.js";
import { makeLargerElf } from "./make-larger-elf.js";

const GIB = 2 ** 30;
/** Whole processes: seconds and MiB. */
const MOST_SECONDS = 1;
const MOST_MIB = 150;
/** What two equal runs may differ by. */
const NOISE = 1.15;
const ROUNDS = 5;

/** Drgn's own tool for this, in short: every process with its name. */
const DRGN_TASKS = `
from drgn.helpers.linux.pid import for_each_task
for task in for_each_task(prog):
    print(task.pid.value_(), task.comm.string_().decode())
`;

/** What the report says of this bench, and programs that it compares with. */
export const title =
  "Tasks out of a Linux guest's memory, against the tools that need debug information for it.";
export const peers = ["drgn"];

/** Linux guests: tasks out of a guest's memory, against the tools that need debug information for it. */
export async function run(): Promise<void> {
  const packed = path.join(sharedData, "xen-v3/hvmlinux.save.zst");
  if (!fs.existsSync(packed)) {
    missing("tasks of a saved guest", "the guest hvmlinux of the shared data");
    return;
  }
  await inMemory(async (folder) => {
    const save = unzstd(packed, folder);
    const elf = path.join(folder, "hvmlinux.elf");
    timeShell(`${GUESTSCOPE} extract -q ${save} ${elf}`);
    const large = path.join(folder, "large.elf");
    makeLargerElf(elf, large, 64 * GIB);
    const small = path.join(folder, "small.elf");
    makeLargerElf(elf, small, 4 * GIB);
    const expected = tasksOf(`${GUESTSCOPE} ps ${elf}`);
    for (const file of [save, small, large]) {
      if (tasksOf(`${GUESTSCOPE} ps ${file}`) !== expected)
        throw new Error(`bench: other tasks in ${file} than in ${elf}`);
    }
    wholeProcesses(save, small, large);
    await decoding(elf);
    others(folder, elf, expected);
  });
}

/** Pid and name of each task but the idle ones, as one text. */
function tasksOf(command: string): string {
  const { tasks } = JSON.parse(
    execFileSync("bash", ["-c", `${command} --json --threads`], { encoding: "utf8" }),
  ) as { tasks: { pid: number; comm: string; idle?: boolean }[] };
  return sorted(tasks.filter(({ idle }) => idle !== true).map(({ pid, comm }) => `${pid} ${comm}`));
}

const sorted = (lines: readonly string[]): string =>
  [...lines].sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)).join("\n");

function wholeProcesses(save: string, small: string, large: string): void {
  const ps = `${GUESTSCOPE} ps`;
  for (const [name, file] of Object.entries({ ELF: small, "Xen save": save }))
    record({
      name: `ps, hvmlinux (${name})`,
      values: secondsOf(`${ps} ${file}`),
      unit: "s",
      most: MOST_SECONDS,
    });
  const ratios = Array.from(
    { length: ROUNDS },
    () => timeShell(`${ps} ${large}`) / timeShell(`${ps} ${small}`),
  );
  record({
    name: "ps, 64 GiB guest of that kernel (ELF): time",
    values: ratios,
    unit: "×",
    peer: "hvmlinux's",
    most: NOISE,
  });
  for (const [name, file] of Object.entries({ "hvmlinux (Xen save)": save, "64 GiB guest": large })) {
    recordPeak({ name: `ps, ${name}: memory`, most: MOST_MIB }, `${ps} ${file}`);
  }
  recordPeak(
    { name: "search with owners, hvmlinux (Xen save): memory", most: MOST_MIB },
    `${GUESTSCOPE} search ${save} Linux`,
  );
}

/** Symbols and types, from memory that was read before. */
async function decoding(elf: string): Promise<void> {
  const source = openFile(elf);
  const guest = await openGuest(source);
  const info = parseVmcoreInfo(guest.facts.vmcoreInfo?.text ?? "");
  const memory = new CachedMemory(guest.memory);
  const space = new AddressSpace(memory, kernelPaging(guest, memory, info).kernel);
  const symbols = await readKallsyms(space, info);
  const kallsyms = await secondsOfCalls(async () => readKallsyms(space, info));
  record({
    name: "kallsyms: symbols read and decoded",
    values: kallsyms.map((seconds) => symbols.table.size / seconds / 1e6),
    unit: "M/s",
    least: 1.5,
  });
  const { bytes } = await readKernelBtf(space, info, symbols.table);
  const btf = await secondsOfCalls(async () => new Btf(bytes));
  record({
    name: "BTF indexed",
    values: btf.map((seconds) => bytes.length / 1e6 / seconds),
    unit: "MB/s",
    least: 100,
  });
  await guest.close?.();
  source.close();
}

async function secondsOfCalls(act: () => Promise<unknown>): Promise<number[]> {
  const seconds: number[] = [];
  for (let round = 0; round < 30; round += 1) {
    const began = performance.now();
    await act();
    seconds.push((performance.now() - began) / 1000);
  }
  return seconds;
}

/** The same tasks by others, from the same vmcore in the same run. */
function others(folder: string, elf: string, expected: string): void {
  const ours = `${GUESTSCOPE} ps ${elf}`;
  const release = execFileSync("bash", ["-c", `${GUESTSCOPE} sys --json ${elf}`], { encoding: "utf8" });
  const vmlinux = debugVmlinux((JSON.parse(release) as { release: string }).release);
  if (vmlinux === undefined || !hasProgram("drgn"))
    missing(
      "drgn with the kernel's debug information",
      "drgn and Debian's -dbg package or GUESTSCOPE_VMLINUX",
    );
  else {
    const script = path.join(folder, "tasks.py");
    fs.writeFileSync(script, DRGN_TASKS);
    const command = `drgn -q -c ${elf} -s ${vmlinux} ${script}`;
    const said = execFileSync("bash", ["-c", `${command} 2>/dev/null`], { encoding: "utf8" });
    same("drgn", sorted(said.trim().split("\n")), expected);
    compare({ name: "ps", peerName: "drgn with debug information", ours, peer: command, rounds: 3 });
  }
  const volatility = volatilityProgram();
  if (volatility === undefined)
    missing(
      "volatility3, linux.pslist",
      "`vol` on the PATH or a checkout in GUESTSCOPE_VOLATILITY3, and python3-pefile",
    );
  else {
    const symbols = path.join(folder, "symbols/linux");
    fs.mkdirSync(symbols, { recursive: true });
    timeShell(`${GUESTSCOPE} symbols -q ${elf} ${path.join(symbols, "kernel.json.gz")}`);
    fs.mkdirSync(path.join(folder, "cache"));
    const command = `${volatility} -q -s ${path.dirname(symbols)} --cache-path ${folder}/cache -r json -f ${elf} linux.pslist --threads`;
    const said = execFileSync("bash", ["-c", `${command} 2>/dev/null`], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    const rows = JSON.parse(said) as { TID: number; COMM: string }[];
    same("volatility3", sorted(rows.map(({ TID, COMM }) => `${TID} ${COMM}`)), expected);
    const peerName = "volatility3's linux.pslist, on our symbol file";
    compare({ name: "ps", peerName, ours, peer: command, rounds: 3 });
  }
}

function same(peer: string, said: string, expected: string): void {
  if (said !== expected) throw new Error(`bench: ${peer} lists other tasks:\n${said}\nwe list:\n${expected}`);
}

function volatilityProgram(): string | undefined {
  const checkout = process.env.GUESTSCOPE_VOLATILITY3;
  const program = checkout === undefined ? "vol" : `python3 ${path.join(checkout, "vol.py")}`;
  return spawnSync("bash", ["-c", `${program} --help`], { stdio: "ignore" }).status === 0
    ? program
    : undefined;
}

/** The kernel's vmlinux with debug information: given, kept from an earlier run, or fetched with Debian's package. */
function debugVmlinux(release: string): string | undefined {
  const given = process.env.GUESTSCOPE_VMLINUX;
  if (given !== undefined) return given;
  const kept = path.join(os.tmpdir(), "guestscope-bench-debug");
  const name = `usr/lib/debug/boot/vmlinux-${release}`;
  const file = path.join(kept, name);
  if (fs.existsSync(file)) return file;
  if (!hasProgram("apt-get") || !hasProgram("dpkg-deb")) return undefined;
  process.stdout.write(`  fetching linux-image-${release}-dbg, kept in ${kept}\n`);
  fs.mkdirSync(kept, { recursive: true });
  const steps = [
    `cd ${kept}`,
    `apt-get download -qq linux-image-${release}-dbg`,
    `dpkg-deb --fsys-tarfile linux-image-${release}-dbg_*.deb > tar`,
    `tar -x -f tar ./${name}`,
  ];
  const done = spawnSync("bash", ["-c", steps.join(" && ")], { stdio: "ignore" }).status === 0;
  spawnSync("bash", ["-c", `cd ${kept} && rm -f tar linux-image-*.deb`]);
  return done ? file : undefined;
}
