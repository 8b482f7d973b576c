import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { GUESTSCOPE, inMemory, medianSeconds, peakMemory, record } from "./harness.js";

const SAVE = path.resolve(import.meta.dirname, "../../shared/data/xen-v3/hvmlinux.save.zst");
const MOST_SECONDS = 3;
const MOST_MIB = 300;

/** Symbol files of a saved Linux guest's kernel: 87,347 symbols, 95,246 types. */
export async function run(): Promise<void> {
  if (!fs.existsSync(SAVE)) {
    process.stdout.write("  skipped: shared data is not on this machine\n");
    return;
  }
  await inMemory(async (folder) => {
    const save = path.join(folder, "guest.save");
    execFileSync("zstd", ["-q", "-d", "--long=31", SAVE, "-o", save]);
    for (const kind of ["isf", "vmlinux", "kallsyms", "btf"]) {
      const command = `${GUESTSCOPE} symbols --quiet --force --to ${kind} ${save} ${path.join(folder, kind)}`;
      const seconds = medianSeconds(command);
      record(
        `symbols --to ${kind}`,
        `${seconds.toFixed(2)} s`,
        `bar ${MOST_SECONDS} s`,
        seconds < MOST_SECONDS,
      );
      const peak = peakMemory(command);
      if (peak !== undefined)
        record(
          `peak memory of symbols --to ${kind}`,
          `${peak.toFixed(0)} MiB`,
          `bar ${MOST_MIB}`,
          peak < MOST_MIB,
        );
    }
  });
}
