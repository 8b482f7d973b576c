import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { validDocument } from "./document-schema.js";

export const projectRoot = path.resolve(import.meta.dirname, "..");
/** Data too large to commit: beside the checkout where a developer or CI has them. */
export const sharedData = path.resolve(projectRoot, "../shared/data");
export const hasShared = fs.existsSync(sharedData);
export const fixtures = path.join(projectRoot, "test/fixtures");

/** Whether a program is on the PATH. */
export function hasProgram(name: string): boolean {
  return (process.env.PATH ?? "").split(":").some((folder) => fs.existsSync(path.join(folder, name)));
}

/** Whether all is tested, as in CI (`npm run test:all`). */
export const isEverything = process.env["GUESTSCOPE_TESTS"] === "all";

/** How often a random test or a sweep is tried: `all` times in CI, a quarter as often in `npm test`. */
export const rounds = (all: number): number => (isEverything ? all : Math.ceil(all / 4));

/** The step of a sweep over all places of an input: each in CI, one of five in `npm test`. */
export const STRIDE = isEverything ? 1 : 5;

/** Says, loudly, which tests a machine leaves out and why; returns the condition for `it.skipIf(...)`. */
export function skipUnless(present: boolean, what: string): boolean {
  if (!present) process.stderr.write(`\n*** SKIPPED: ${what} is not on this machine ***\n`);
  return !present;
}

/** A scratch folder on the memory file system where there is one; removed with `cleanup`. */
export function scratch(): { folder: string; cleanup: () => void } {
  const base = fs.existsSync("/dev/shm") ? "/dev/shm" : os.tmpdir();
  const folder = fs.mkdtempSync(path.join(base, "guestscope-test-"));
  return {
    folder,
    cleanup: () => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }),
  };
}

/** Unpacks a .zst of shared data into `folder` (once), with a delta's base where it has one. */
export function unzstd(
  packed: string,
  folder: string,
  options: { patchFrom?: string; name?: string } = {},
): string {
  const out = path.join(folder, options.name ?? path.basename(packed).replace(/(\.patch)?\.zst$/, ""));
  if (fs.existsSync(out)) return out;
  const delta = options.patchFrom === undefined ? [] : [`--patch-from=${options.patchFrom}`];
  execFileSync("zstd", ["-q", "-d", "--long=31", "-f", ...delta, packed, "-o", out]);
  return out;
}

export const gunzipText = (file: string): string => zlib.gunzipSync(fs.readFileSync(file)).toString("utf8");

export interface Run {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that doesn't end by itself fails its test. */
const DEADLINE_MS = 120_000;

/** Runs the built command line (`npm run build` first) with optional standard input. */
export function runCli(
  args: readonly string[],
  options: { input?: Uint8Array; program?: string; cwd?: string } = {},
): Run {
  const program = path.join(projectRoot, "dist/cli", options.program ?? "main.js");
  const result = spawnSync(process.execPath, [program, ...args], {
    ...(options.input === undefined ? {} : { input: options.input }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    maxBuffer: 1 << 30,
    encoding: "utf8",
    timeout: DEADLINE_MS,
  });
  // every document that a test makes fits its schema; `strings` prints a text a line
  if (
    args.includes("--json") &&
    args[0] !== "strings" &&
    options.program === undefined &&
    result.stdout !== ""
  )
    validDocument(result.stdout, args.join(" "));
  return { status: result.status ?? -1, stdout: result.stdout, stderr: result.stderr };
}
