import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { compileMimic, runMimic } from "../test/qemu/core/mimic.js";
import { hasProgram, sharedData, unzstd } from "../test/shared.js";
import { missing, record } from "./figures.js";
import { clearOutput, compare, GUESTSCOPE, inMemory, recordPeak, secondsOf, timeShell } from "./harness.js";

const RAM_PAGES = (2 * (1 << 30)) / 4096;

/** A page-wise loop over the debugger's memory, as QEMU's own gdb command works. Each byte goes to its guest address. */
const GDB_LOOP = `
import gdb
def low(value):
    """Of an __int128, which gdb can't turn into a number, the lower half."""
    return int(value.address.cast(gdb.lookup_type("unsigned long").pointer()).dereference())
view = gdb.parse_and_eval("address_space_memory.current_map").dereference()
process = gdb.selected_inferior()
with open(OUT, "wb") as out:
    for i in range(int(view["nr"])):
        part = view["ranges"][i]
        region = part["mr"].dereference()
        if not region["ram"] or region["ram_device"] or region["nonvolatile"]:
            continue
        at = int(part["offset_in_region"])
        while int(region["alias"]) != 0:
            at += int(region["alias_offset"])
            region = region["alias"].dereference()
        at += int(region["ram_block"]["host"])
        out.seek(low(part["addr"]["start"]))
        for offset in range(0, low(part["addr"]["size"]), 4096):
            out.write(process.read_memory(at + offset, 4096))
`;

/** A core of the program that mimics QEMU, written by gcore. */
async function makeCore(
  folder: string,
  ...defines: readonly string[]
): Promise<{ exe: string; core: string }> {
  const exe = compileMimic(folder, 702, `RAM_PAGES=${RAM_PAGES}`, ...defines);
  const { child, pid } = await runMimic(exe);
  const core = path.join(folder, `core-${defines.join("-")}`);
  spawnSync("gcore", ["-o", core, String(pid)], { stdio: "ignore" });
  child.kill("SIGKILL");
  return { exe, core: `${core}.${pid}` };
}

/** What the report says of this bench, and programs that it compares with. */
export const title = "Guests out of cores of QEMU processes: finding the memory map, and copying the memory.";
export const peers = ["dd", "gdb"];

/** Guests out of QEMU cores: finding the memory map, and copying. */
export async function run(): Promise<void> {
  if (!hasProgram("gcc") || !hasProgram("gcore")) {
    missing("QEMU cores", "gcc and gcore, which make them");
    return;
  }
  await inMemory(async (folder) => {
    findTheMap(folder);
    const out = path.join(folder, "out");
    for (const defines of [[], ["HALF_FILLED"]]) {
      const { exe, core } = await makeCore(folder, ...defines);
      const what = defines.length === 0 ? "full" : "half-filled";
      const ours = `${GUESTSCOPE} extract -q --exe ${exe} ${core} ${out}`;
      compare({
        name: `extract: 2 GiB guest, ${what}, to ELF`,
        ours,
        peer: `dd if=${core} of=${out} bs=4M status=none`,
        peerName: "dd bs=4M",
        prepare: clearOutput(out, 2100),
        ...(defines.length === 0
          ? {
              before: 0.59,
              limit:
                "starting the program and finding the memory map take 0.15 s of 1.1 to 1.2; dd takes 1.0",
            }
          : {}),
        bar: 0.9,
      });
      recordPeak({ name: `extract: memory, ${what}`, most: 150 }, `${ours} --force`);
      if (defines.length === 0 && hasProgram("gdb")) {
        const script = path.join(folder, "loop.py");
        fs.writeFileSync(script, GDB_LOOP.replace("OUT", JSON.stringify(out)));
        const peer = `gdb -nx -q -batch -x ${script} ${exe} ${core}`;
        // gdb's status tells nothing of a script that failed: what it wrote must be the guest's memory
        const raw = path.join(folder, "raw");
        timeShell(`rm -f ${out}; ${peer} && ${GUESTSCOPE} extract -q --exe ${exe} ${core} ${raw} --to raw`);
        timeShell(`cmp ${raw} ${out} && rm ${raw}`);
        compare({
          name: "extract: the same against a page-wise gdb loop",
          ours,
          peer,
          peerName: "gdb",
          prepare: clearOutput(out, 2100),
          bar: 4,
          limit: "the copy itself: dd of the same core, above, would be 2.9 times as fast as gdb's loop",
          rounds: 3,
        });
        const qemuScript = process.env.GUESTSCOPE_QEMU_GDB_SCRIPT;
        if (qemuScript === undefined)
          missing(
            "QEMU's own gdb script",
            "scripts/dump-guest-memory.py of QEMU's sources in GUESTSCOPE_QEMU_GDB_SCRIPT",
          );
        else
          compare({
            name: "extract: the same against QEMU's own script",
            ours,
            peer: `gdb -nx -q -batch -ex 'source ${qemuScript}' -ex 'dump-guest-memory ${out} X86_64' ${exe} ${core} && [ -s ${out} ]`,
            peerName: "gdb with dump-guest-memory.py",
            prepare: clearOutput(out, 2100),
            bar: 5,
            rounds: 3,
            limit:
              "the copy itself: dd of the same core was 4.7 times as fast as gdb (0.54 s and 2.5 s for 1 GiB)",
          });
      }
      fs.rmSync(core);
      fs.rmSync(out, { force: true });
    }
  });
}

/** The time to find the guest's memory in a core, with QEMU's real debug information. */
function findTheMap(folder: string): void {
  const cores = path.join(sharedData, "qemu-core");
  if (!fs.existsSync(cores)) return;
  const core = unzstd(path.join(cores, "tiny-split/core.zst"), folder);
  const debug = unzstd(path.join(cores, "debug/qemu-system-x86_64.debug.zst"), folder);
  const find = (file: string): number[] =>
    secondsOf(
      `${GUESTSCOPE} extract -q --debug-file ${file} ${core} /dev/null --to raw --range 0x1000-0x2000`,
    );
  record({ name: "map found, 20 MB of .debug_info", values: find(debug), unit: "s", most: 1 });
  if (!hasProgram("gdb-add-index")) return;
  const indexed = path.join(folder, "indexed.debug");
  fs.copyFileSync(debug, indexed);
  fs.chmodSync(indexed, 0o600);
  execFileSync("gdb-add-index", [indexed], { stdio: "ignore" });
  record({ name: "map found, with .gdb_index", values: find(indexed), unit: "s", most: 0.3 });
  for (const file of [core, debug, indexed]) fs.rmSync(file, { force: true });
}
