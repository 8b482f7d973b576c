import * as fs from "node:fs";
import * as path from "node:path";
import { barOf, beginSection, isMet, recorded, valueOf, withUnit } from "./figures.js";
import { describeMachine, versionOf } from "./machine.js";
import { page, sectionsOf, sectionText } from "./report.js";

/** What a file of a bench exports. */
interface Bench {
  /** What it measures, one sentence. */
  readonly title: string;
  /** Programs and libraries that it compares with. */
  readonly peers: readonly string[];
  readonly run: () => Promise<void>;
}

const PAGE = path.resolve(import.meta.dirname, "../docs/performance.md");
const NOT_BENCHES = new Set(["main.ts", "harness.ts", "figures.ts", "machine.ts", "report.ts"]);

/**
 * `npm run bench -- [--report] [NAME...]`: runs bench/NAME.ts, or all of them, and sums up which bars were met; with
 * `--report` their sections of docs/performance.md are written anew, each when its bench is done.
 */
const available = fs
  .readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts") && !NOT_BENCHES.has(file) && !file.startsWith("make-"))
  .map((file) => path.basename(file, ".ts"))
  .sort();
const report = process.argv.includes("--report");
const asked = process.argv.slice(2).filter((argument) => argument !== "--report");
for (const name of asked)
  if (!available.includes(name)) throw new Error(`no bench '${name}'; there are ${available.join(", ")}`);
for (const name of asked.length === 0 ? available : asked) {
  process.stdout.write(`\n${name}\n`);
  const bench = (await import(`./${name}.js`)) as Bench;
  const section = beginSection(name);
  await bench.run();
  if (!report) continue;
  const sections = sectionsOf(fs.existsSync(PAGE) ? fs.readFileSync(PAGE, "utf8") : "");
  const around = {
    title: bench.title,
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    node: process.version,
    peers: bench.peers.flatMap((peer) => versionOf(peer) ?? []),
  };
  sections.set(name, sectionText(section, around));
  fs.writeFileSync(PAGE, page(available, sections));
}
const figures = recorded().flatMap((section) => section.figures);
const missed = figures.filter((figure) => isMet(figure) === false);
process.stdout.write(`\n${figures.length} figures, ${missed.length} below their bar\n`);
for (const figure of missed)
  process.stdout.write(`  ${figure.name}: ${withUnit(valueOf(figure), figure.unit)}, bar ${barOf(figure)}\n`);
