import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";

/**
 * `npm run demo`: a Linux guest that panicked is looked into, and a guest saved by Xen 4.4 converted, verified and made
 * a vmcore.
 */
const root = path.resolve(import.meta.dirname, "..");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "guestscope-demo-"));
process.once("exit", () => fs.rmSync(folder, { recursive: true, force: true }));

fs.copyFileSync(path.join(root, "test/fixtures/linux/panic-6.1.elf.xz"), path.join(folder, "crashed.elf.xz"));
const legacy = gunzipSync(fs.readFileSync(path.join(root, "test/fixtures/demo/web01.legacy.gz")));
fs.writeFileSync(path.join(folder, "web01.legacy"), legacy);

const MOST_LINES = 24;

/** Runs a command as a user would, and shows the beginning of what it prints. */
function guestscope(line: string, statuses: readonly number[] = [0]): void {
  process.stdout.write(`\n$ guestscope ${line}\n`);
  const run = spawnSync(process.execPath, [path.join(root, "dist/cli/main.js"), ...line.split(" ")], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, COLUMNS: "80" },
    maxBuffer: 1 << 28,
  });
  const lines = run.stdout.trimEnd().split("\n");
  const rest = lines.length - MOST_LINES;
  process.stdout.write(
    `${lines.slice(0, MOST_LINES).join("\n")}\n${rest > 0 ? `  (… ${rest} more lines)\n` : ""}`,
  );
  if (run.status !== null && statuses.includes(run.status)) return;
  process.stderr.write(`${run.stderr}demo: guestscope ${line} ended with ${run.status}\n`);
  process.exitCode = 1;
}

process.stdout.write("A Linux guest that panicked: a vmcore, cut down to what is looked at here\n");
// of a dump that is cut down some answers are incomplete, which status 1 says
const INCOMPLETE = [0, 1];
guestscope("inspect crashed.elf.xz", INCOMPLETE);
guestscope("sys crashed.elf.xz", INCOMPLETE);
guestscope("log --level err+ crashed.elf.xz", INCOMPLETE);
guestscope("bt crashed.elf.xz", INCOMPLETE);

process.stdout.write("\nA guest that Xen 4.4 saved while Remus replicated it\n");
guestscope("convert web01.legacy web01.save");
guestscope("verify web01.save");
guestscope("extract web01.save web01.kdump");
guestscope("inspect web01.kdump");
