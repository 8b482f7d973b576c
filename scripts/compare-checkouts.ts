import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { parseArgs } from "node:util";
import * as zlib from "node:zlib";
import {
  describeDifferences,
  differencesBetween,
  NOT_COMPARED,
  type Results,
} from "./compare/differences.js";
import { damage, type Input, listInputs, listMalformed, SMALL, Unpacked } from "./compare/inputs.js";
import {
  damagedOperations,
  GENERAL,
  type Context,
  type Operation,
  operationsFor,
  perform,
} from "./compare/operations.js";
import type { Outcome } from "./compare/outcome.js";
import { Programs } from "./compare/programs.js";

/**
 * Shows that a change of the source changes no behaviour: runs two built checkouts over every input there is and compares
 * exit statuses, findings, values of inspections, files written and what the drop-in programs print.
 */

const USAGE = `usage: tsx scripts/compare-checkouts.ts A B               compare two built checkouts
       tsx scripts/compare-checkouts.ts --save DIR A      run A, keep the result
       tsx scripts/compare-checkouts.ts --against DIR B   compare B with a kept result
options: --messages       compare texts too (findings' messages, warnings, standard error)
         --full           print every difference (the default prints some of each kind)
         --only TEXT      inputs whose name contains TEXT
         --jobs N         processes at a time (default 2)
         --data FOLDER    inputs beside the fixtures (default ../shared/data beside this checkout)
Exit status: 0 no difference, 1 differences, 2 misuse. Built: npm run build in each checkout first.
Inputs are this checkout's fixtures and the data folder, whatever checkout runs them.`;

const here = path.resolve(import.meta.dirname, "..");

/** Runs all operations with each of `checkouts`. */
async function runAll(
  checkouts: readonly string[],
  options: { data: string; only: string; jobs: number },
): Promise<{ results: Results[]; inputs: number }> {
  for (const checkout of checkouts)
    if (!fs.existsSync(path.join(checkout, "dist/cli/main.js")))
      throw new Error(`${checkout} isn't built: dist/cli/main.js is absent`);
  const base = fs.existsSync("/dev/shm") ? "/dev/shm" : os.tmpdir();
  // always the same: vmcores name their input
  const folder = path.join(base, "guestscope-compare");
  if (fs.existsSync(folder))
    throw new Error(`${folder} exists: another comparison runs, or one was killed (remove it)`);
  fs.mkdirSync(folder);
  const remove = (): void => fs.rmSync(folder, { recursive: true, force: true });
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => {
      remove();
      process.exit(2);
    });
  try {
    return await runIn(folder, checkouts, options);
  } finally {
    remove();
  }
}

async function runIn(
  folder: string,
  checkouts: readonly string[],
  options: { data: string; only: string; jobs: number },
): Promise<{ results: Results[]; inputs: number }> {
  const unpacked = new Unpacked(folder);
  const fixtures = path.join(here, "test/fixtures");
  const listed = listInputs({ fixtures, data: options.data }, unpacked);
  const inputs = [...listed, ...listMalformed(fixtures, listed, unpacked)].filter(({ name }) =>
    name.includes(options.only),
  );
  const results = checkouts.map(() => new Map<string, Outcome>());
  let done = 0;
  const queue = inputs.values();
  const worker = async (): Promise<void> => {
    const programs = new Programs();
    for (const input of queue) {
      await runInput(
        input,
        { slot: input.name.replaceAll("/", "+"), folder, hostile: input.hostile, programs },
        checkouts,
        results,
      );
      done += 1;
      if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${inputs.length} inputs `);
    }
    programs.close();
  };
  const programs = new Programs();
  for (const operation of GENERAL)
    await runOnAll("program", operation, { slot: "g", folder, hostile: false, programs }, checkouts, results);
  programs.close();
  await Promise.all(Array.from({ length: options.jobs }, () => worker()));
  return { results, inputs: inputs.length };
}

async function runInput(
  input: Input,
  context: Context,
  checkouts: readonly string[],
  results: readonly Map<string, Outcome>[],
): Promise<void> {
  const prepared = await input.prepare();
  for (const operation of operationsFor(input, prepared))
    await runOnAll(input.name, operation, context, checkouts, results);
  if (!input.hostile && !/^malformed|\bref\b/.test(input.name) && fs.statSync(prepared.file).size <= SMALL)
    for (const { name, file } of damage(prepared.file)) {
      for (const operation of damagedOperations(input, file, prepared.options))
        await runOnAll(`${input.name} ${name}`, operation, context, checkouts, results);
      fs.rmSync(file);
    }
  if (prepared.removable) fs.rmSync(prepared.file);
}

async function runOnAll(
  input: string,
  operation: Operation,
  context: Context,
  checkouts: readonly string[],
  results: readonly Map<string, Outcome>[],
): Promise<void> {
  for (const [i, checkout] of checkouts.entries())
    for (const { name, outcome } of await perform(operation, { ...context, checkout }))
      results[i]?.set(`${input} | ${name}`, outcome);
}

const RESULT_FILE = "results.jsonl.gz";

function save(folder: string, results: Results): void {
  fs.mkdirSync(folder, { recursive: true });
  const lines = [...results].map((entry) => JSON.stringify(entry));
  fs.writeFileSync(path.join(folder, RESULT_FILE), zlib.gzipSync(lines.join("\n")));
}

function load(folder: string, only: string): Results {
  const text = zlib.gunzipSync(fs.readFileSync(path.join(folder, RESULT_FILE))).toString("utf8");
  const entries = text.split("\n").map((line) => JSON.parse(line) as [string, Outcome]);
  return new Map(entries.filter(([name]) => name.startsWith("program |") || name.includes(only)));
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      save: { type: "string" },
      against: { type: "string" },
      messages: { type: "boolean", default: false },
      full: { type: "boolean", default: false },
      only: { type: "string", default: "" },
      jobs: { type: "string", default: "2" },
      data: { type: "string", default: path.resolve(here, "../shared/data") },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const checkouts = positionals.map((folder) => path.resolve(folder));
  const wanted = values.save === undefined && values.against === undefined ? 2 : 1;
  if (values.help || checkouts.length !== wanted) {
    process.stderr.write(`${USAGE}\n`);
    return values.help ? 0 : 2;
  }
  const begun = Date.now();
  const { results, inputs } = await runAll(checkouts, {
    data: values.data,
    only: values.only,
    jobs: Number(values.jobs),
  });
  const [first = new Map<string, Outcome>(), second] = results;
  const head = `${inputs} inputs, ${first.size} operations, ${Math.round((Date.now() - begun) / 1000)} s`;
  if (values.save !== undefined) {
    save(values.save, first);
    process.stdout.write(`${head}: kept in ${values.save}\n`);
    return 0;
  }
  const before = second === undefined ? load(values.against ?? "", values.only) : first;
  const differences = differencesBetween(before, second ?? first, { messages: values.messages });
  const late = [...before].filter(([, { status }]) => status === "timeout").map(([name]) => name);
  // whether one ends in time hangs on the machine's load too
  const counted = differences.filter(({ group }) => group !== NOT_COMPARED).length;
  const lines = [
    `${head}, ${late.length} of them not ended in time before: ${counted === 0 ? "no difference" : `${counted} differences`}`,
    ...describeDifferences(differences, values.full),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  return counted === 0 ? 0 : 1;
}

process.exitCode = await main();
