import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";

/** `npm run demo`: a guest saved by Xen 4.4 is looked at, converted, verified and made a vmcore. */
const root = path.resolve(import.meta.dirname, "..");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "guestscope-demo-"));
const sample = gunzipSync(fs.readFileSync(path.join(root, "test/fixtures/demo/web01.legacy.gz")));
fs.writeFileSync(path.join(folder, "web01.legacy"), sample);

function guestscope(...args: string[]): void {
  process.stdout.write(`\n$ guestscope ${args.join(" ")}\n`);
  const result = spawnSync(process.execPath, [path.join(root, "dist/cli/main.js"), ...args], {
    cwd: folder,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (result.status !== 0) {
    process.stderr.write(`demo: guestscope ${args[0]} ended with ${result.status}\n`);
    process.exitCode = 1;
  }
}

process.stdout.write(`An xl save file of Xen 4.4, replicated by Remus, in ${folder}\n`);
guestscope("inspect", "web01.legacy");
guestscope("convert", "web01.legacy", "web01.save");
guestscope("verify", "web01.save");
guestscope("extract", "web01.save", "web01.vmcore");
guestscope("inspect", "web01.vmcore");
fs.rmSync(folder, { recursive: true });
