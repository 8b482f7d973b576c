import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";

/** The system's programs that open dumps of Linux guests. */
export const PROGRAMS = ["crash", "makedumpfile", "drgn"] as const;
export type Program = (typeof PROGRAMS)[number];

/** Debian's drgn is of this Python. */
const PYTHON = "/usr/bin/python3";

export const hasDrgn = spawnSync(PYTHON, ["-c", "import drgn"]).status === 0;

/** Runs a script with drgn on a dump; the dump is its first argument. */
export function drgn(script: string, ...args: readonly string[]): string {
  const prelude = "import drgn, sys\np = drgn.Program(); p.set_core_dump(sys.argv[1])\n";
  return execFileSync(PYTHON, ["-c", prelude + script, ...args], { encoding: "utf8" });
}

const RELEASE_AND_TASKS = `
from drgn.helpers.linux.pid import for_each_task
p.load_debug_info([sys.argv[2]])
# through the kernel's page tables
print(p['init_uts_ns'].name.release.string_().decode())
frames = 0
for task in for_each_task(p):
    print("pid", task.pid.value_(), task.comm.string_().decode())
    try: frames += len(p.stack_trace(task))
    except Exception: pass
print("frames", frames)
`;

/** What a program says of the kernel in a dump: its release, drgn all tasks too. Files are made in `folder`. */
export function said(program: Program, dump: string, vmlinux: string, folder: string): string {
  if (program === "drgn") return drgn(RELEASE_AND_TASKS, dump, vmlinux);
  if (program === "makedumpfile") {
    const log = path.join(folder, "dmesg");
    execFileSync("makedumpfile", ["--dump-dmesg", "-f", dump, log], { stdio: "pipe" });
    return fs.readFileSync(log, "utf8");
  }
  const commands = path.join(folder, "commands");
  fs.writeFileSync(commands, "sys\nquit\n");
  const run = spawnSync("crash", ["-s", "-i", commands, vmlinux, dump], {
    encoding: "utf8",
    timeout: 120_000,
    stdio: ["ignore", "pipe", "pipe"],
  });
  return `${run.signal ?? ""}${run.stdout}${run.stderr}`;
}

/** The bytes that are left when makedumpfile takes out of a dump what its kernel doesn't need. */
export function filteredSize(dump: string, folder: string): number {
  const filtered = path.join(folder, "filtered");
  execFileSync("makedumpfile", ["-f", "-c", "-d", "31", dump, filtered], { stdio: "pipe" });
  return fs.statSync(filtered).size;
}
