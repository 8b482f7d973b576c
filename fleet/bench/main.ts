import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { RedisServer } from "./redis.js";
import { writeSaves } from "./saves.js";

/**
 * `npm run bench -w fleet`: the same small saves by `xargs -P2 -n50 guestscope verify` and by one worker with two jobs at
 * a time, in turns. What counts is the ratio of a pair: other work on the machine slows both.
 */
const [INPUTS, PAIRS, BAR] = [2000, Number(process.argv[2] ?? 5), 0.9];
const root = path.resolve(import.meta.dirname, "../..");
const core = path.join(root, "dist/cli/main.js");
const fleet = path.join(root, "fleet/dist/cli/main.js");
const base = fs.existsSync("/dev/shm") ? "/dev/shm" : os.tmpdir();
const folder = fs.mkdtempSync(path.join(base, "guestscope-fleet-bench-"));
const redis = await RedisServer.start(path.join(folder, "redis"));

function timed(program: string, args: readonly string[], input = ""): number {
  const began = performance.now();
  const { status, stderr } = spawnSync(program, args, { input, encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: status ${status}\n${stderr}`);
  return (performance.now() - began) / 1000;
}

try {
  const saves = writeSaves(path.join(folder, "saves"), INPUTS);
  const list = saves.join("\n");
  const ratios: Record<"queue" | "local", number[]> = { queue: [], local: [] };
  for (let pair = 0; pair < PAIRS; pair += 1) {
    const common = ["--reports", path.join(folder, `reports-${pair}`), "--quiet"];
    const queue = ["--redis", redis.url, "--queue", `bench-${pair}`];
    const xargs = timed("xargs", ["-P2", "-n50", process.execPath, core, "verify", "--quiet"], list);
    const submit = timed(
      process.execPath,
      [fleet, "submit", "verify", "--list", "-", "--quiet", ...queue],
      list,
    );
    const work = timed(process.execPath, [fleet, "work", "--drain", "-c2", ...queue, ...common]);
    const local = timed(
      process.execPath,
      [
        fleet,
        "submit",
        "verify",
        "--local",
        "--list",
        "-",
        "-c2",
        ...common.with(1, path.join(folder, `local-${pair}`)),
      ],
      list,
    );
    ratios.queue.push(xargs / work);
    ratios.local.push(xargs / local);
    const figure = (seconds: number): string =>
      `${seconds.toFixed(2)} s (${Math.round(INPUTS / seconds)} inputs/s)`;
    process.stdout.write(
      `xargs ${figure(xargs)}, submit ${submit.toFixed(2)} s, work ${figure(work)}, --local ${figure(local)}; ` +
        `xargs/work ${(xargs / work).toFixed(2)}, xargs/--local ${(xargs / local).toFixed(2)}\n`,
    );
  }
  const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1] ?? 0;
  for (const [name, list] of Object.entries(ratios)) {
    const value = median(list);
    process.stdout.write(
      `${name}: ${value.toFixed(2)} of xargs' throughput, at least ${BAR} wanted: ${value >= BAR ? "met" : "MISSED"}\n`,
    );
    if (value < BAR) process.exitCode = 1;
  }
} finally {
  await redis.kill("SIGTERM");
  fs.rmSync(folder, { recursive: true, force: true });
}
