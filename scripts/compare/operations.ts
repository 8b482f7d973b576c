import * as fs from "node:fs";
import * as path from "node:path";
import { type Input, type LegacyFacts, type Prepared, SMALL } from "./inputs.js";
import { digestOf, type Outcome, outcomeOf } from "./outcome.js";
import type { Programs } from "./programs.js";

/** One run of a built program on an input. `OUT` in the arguments is the output file. */
export interface Operation {
  readonly name: string;
  /** Below dist/cli. */
  readonly program: string;
  readonly args: readonly string[];
  /** What is printed is a contract and compared to the letter. */
  readonly contract?: boolean;
  /** The file that standard input comes from. */
  readonly stdin?: string;
  /** Runs on what this operation wrote. */
  readonly followed?: Operation;
}

const TIME_LIMIT_MS = 180_000;
const HOSTILE_TIME_LIMIT_MS = 8_000;

const OUT = "OUT";

/** Operations that take no input. */
export const GENERAL: readonly Operation[] = [
  { name: "explain", program: "main.js", args: ["explain", "--json"] },
  { name: "formats", program: "main.js", args: ["formats", "--json"] },
];

const cli = (name: string, ...args: string[]): Operation => ({ name, program: "main.js", args });

const streamVerifier = (format: string, file: string): Operation => ({
  name: `verify-stream-v2 ${format}`,
  program: "compat/verify-stream-v2.js",
  args: ["-v", "-f", format, "-i", file],
  contract: true,
});

/** Everything that is run on an input. */
export function operationsFor(input: Input, prepared: Prepared): Operation[] {
  const { file, options } = prepared;
  const small = fs.statSync(file).size <= SMALL;
  const extract = (name: string, ...args: string[]): Operation =>
    cli(`extract ${name}`, "extract", "--json", ...options, ...args, file, OUT);
  const all: Operation[] = [
    cli("verify", "verify", "--json", file),
    cli("inspect", "inspect", "--json", ...options, file),
    extract("elf"),
  ];
  if (input.name.startsWith("malformed/"))
    return [cli("verify", "verify", "--json", file), ...xenOperations(input, file)];
  if (small && !input.hostile) {
    if (input.kind !== "vmcore") all.push({ ...cli("verify stdin", "verify", "--json", "-"), stdin: file });
    all.push(extract("elf partial", "--partial"));
  }
  if (prepared.backing !== undefined) all.push(extract("elf backing", "--backing", prepared.backing));
  if (input.hostile) return [...all, ...xenOperations(input, file)];
  if (input.kind === "xen" || input.kind === "legacy") all.push(extract("xen-core", "--to", "xen-core"));
  else if (small && !/\bref\b/.test(input.name)) {
    all.push(extract("kdump", "--partial", "--to", "kdump"));
    all.push(extract("lime", "--partial", "--to", "lime"));
    all.push(extract("raw", "--partial", "--to", "raw", "--range", "0-0x200000"));
  }
  return [...all, ...xenOperations(input, file)];
}

function xenOperations(input: Input, file: string): Operation[] {
  if (input.kind === "xen") return [streamVerifier(/bare|libxc/.test(input.name) ? "libxc" : "xl", file)];
  if (input.kind !== "legacy" || input.legacy === undefined) return [];
  const { envelope } = input.legacy;
  const converted: Operation[] = [
    {
      ...cli("convert", "convert", "--json", file, OUT),
      followed: cli("verify converted", "verify", "--json", OUT),
    },
    {
      ...cli(
        "convert v2 libxc",
        "convert",
        "--json",
        "--to",
        "v2",
        "--format",
        "libxc",
        "--allow-loss",
        file,
        OUT,
      ),
      followed: streamVerifier("libxc", OUT),
    },
    dropIn(input.legacy, file),
  ];
  return input.name.startsWith("malformed/") && envelope === "none" ? converted.slice(0, 1) : converted;
}

const dropIn = (facts: LegacyFacts, file: string): Operation => ({
  name: "convert-legacy-stream",
  program: "compat/convert-legacy-stream.js",
  args: [
    "-v",
    "-i",
    file,
    "-o",
    OUT,
    "-w",
    facts.width,
    "-g",
    facts.guest,
    ...(facts.envelope === "none" ? [] : ["-f", "libxl"]),
    ...(facts.envelope === "xl" ? ["-x"] : []),
  ],
  contract: true,
});

/** What is run on a damaged variant of an input. */
export function damagedOperations(input: Input, file: string, options: readonly string[]): Operation[] {
  const all = [
    cli("verify", "verify", "--json", file),
    cli("inspect", "inspect", "--json", ...options, file),
    cli("extract partial", "extract", "--json", "--partial", ...options, file, OUT),
  ];
  return input.kind === "legacy" ? [...all, cli("convert", "convert", "--json", file, OUT)] : all;
}

export interface Named {
  readonly name: string;
  readonly outcome: Outcome;
}

/** Where operations of one worker run. */
export interface Context {
  readonly folder: string;
  readonly slot: string;
  readonly hostile: boolean;
  readonly programs: Programs;
}

/** Runs an operation, and what follows it, with the programs of `checkout`. */
export async function perform(
  operation: Operation,
  context: Context & { checkout: string; previous?: string },
): Promise<Named[]> {
  const out = path.join(
    context.folder,
    `out-${context.slot}-${operation.followed === undefined ? "b" : "a"}`,
  );
  const target = context.previous ?? out;
  fs.rmSync(out, { force: true });
  const args = operation.args.map((arg) => (arg === OUT ? target : arg));
  const writes = context.previous === undefined && operation.args.includes(OUT);
  const ran = await context.programs.run(context.checkout, {
    program: operation.program,
    args,
    stdin: operation.stdin,
    limit: context.hostile ? HOSTILE_TIME_LIMIT_MS : TIME_LIMIT_MS,
    alone: context.hostile,
  });
  const outcome = outcomeOf(ran, {
    folder: context.folder,
    checkout: context.checkout,
    contract: operation.contract ?? false,
    ...(writes ? { file: await digestOf(out) } : {}),
  });
  const results: Named[] = [{ name: operation.name, outcome }];
  if (operation.followed !== undefined && fs.existsSync(out))
    for (const next of await perform(operation.followed, { ...context, previous: out }))
      results.push({ name: `${operation.name} > ${next.name}`, outcome: next.outcome });
  if (context.previous === undefined) fs.rmSync(out, { force: true });
  return results;
}
