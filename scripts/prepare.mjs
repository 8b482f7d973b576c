import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";

// npm runs this before it packs or links the package: from a clone that was never built, even one without
// dependencies, the programs are built first. Plain JavaScript, since nothing may be installed yet.
const root = path.resolve(import.meta.dirname, "..");

/** Runs npm; what it prints goes to standard error, since `npm pack` prints the package's name on the other. */
function npm(...words) {
  const { status } = spawnSync("npm", words, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    // flags of the npm that runs us (-g, --dry-run, --omit=dev) are not meant for the build
    env: Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^npm_config_(global|location|omit|dry_run|prefix|local_prefix|json)$/.test(name)),
    ),
    shell: process.platform === "win32",
  });
  if (status !== 0) process.exit(status ?? 1);
}

if (!fs.existsSync(path.join(root, "node_modules/typescript"))) npm("ci", "--ignore-scripts", "--include=dev");
npm("run", "--silent", "build");
