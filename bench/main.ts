import * as fs from "node:fs";
import * as path from "node:path";
import { recorded } from "./harness.js";

/** `npm run bench [NAME...]`: runs bench/NAME.ts, or all of them, and sums up which bars were met. */
const NOT_BENCHES = new Set(["main.ts", "harness.ts"]);
const available = fs
  .readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts") && !NOT_BENCHES.has(file) && !file.startsWith("make-"))
  .map((file) => path.basename(file, ".ts"));
const asked = process.argv.slice(2);
for (const name of asked.length === 0 ? available : asked) {
  if (!available.includes(name)) throw new Error(`no bench '${name}'; there are ${available.join(", ")}`);
  process.stdout.write(`\n${name}\n`);
  const bench = (await import(`./${name}.js`)) as { run: () => Promise<void> };
  await bench.run();
}
const missed = recorded().filter((figure) => figure.met === false);
process.stdout.write(`\n${recorded().length} figures, ${missed.length} below their bar\n`);
for (const figure of missed) process.stdout.write(`  ${figure.name}: ${figure.value} ${figure.bar}\n`);
