import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { missing, record } from "./figures.js";
import { GUESTSCOPE, inMemory, recordPeak, secondsOf } from "./harness.js";

const SAVE = path.resolve(import.meta.dirname, "../../shared/data/xen-v3/hvmlinux.save.zst");
const MOST_SECONDS = 3;
const MOST_MIB = 150;

/** What the report says of this bench, and programs that it compares with. */
export const title = "Symbol files made of a saved Linux guest's own memory: 87,347 symbols, 95,246 types.";
export const peers: readonly string[] = [];

/** Symbol files of a saved Linux guest's kernel: 87,347 symbols, 95,246 types. */
export async function run(): Promise<void> {
  if (!fs.existsSync(SAVE)) {
    missing("symbols", "the saved guest hvmlinux of the shared data");
    return;
  }
  await inMemory(async (folder) => {
    const save = path.join(folder, "guest.save");
    execFileSync("zstd", ["-q", "-d", "--long=31", SAVE, "-o", save]);
    for (const kind of ["isf", "vmlinux", "kallsyms", "btf"]) {
      const command = `${GUESTSCOPE} symbols --quiet --force --to ${kind} ${save} ${path.join(folder, kind)}`;
      record({ name: `symbols --to ${kind}`, values: secondsOf(command), unit: "s", most: MOST_SECONDS });
      recordPeak({ name: `memory of symbols --to ${kind}`, most: MOST_MIB }, command);
    }
  });
}
