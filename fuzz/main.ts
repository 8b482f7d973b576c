import { fork } from "node:child_process";
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { parseArgs } from "node:util";
import { installNodeCodecs } from "../src/io/node/codecs.js";
import { bundleWorker } from "./bundle.js";
import { Random } from "./random.js";
import { TARGETS } from "./targets.js";
import type { WorkerNews, WorkerOrder } from "./worker.js";

/**
 * `npm run fuzz -- [--target NAME]... [--seconds N] [--seed N] [--out DIR] [--list]`: N seconds of mutants a target.
 * What breaks is put in DIR, an input and what was seen, and the status is 1. `--target NAME --input FILE` tries one input.
 */

const { values } = parseArgs({
  options: {
    target: { type: "string", multiple: true },
    seconds: { type: "string", default: "10" },
    seed: { type: "string" },
    most: { type: "string" },
    out: { type: "string", default: path.join(os.tmpdir(), "guestscope-fuzz") },
    input: { type: "string" },
    list: { type: "boolean", default: false },
  },
});

/** Without news for so much of its own processor time a worker hangs, or for so long where that can't be known. */
const HANG_MS = 15_000;
/** Of a machine with much else to do. */
const HANG_WALL_MS = 600_000;
/** Findings of one kind that are kept. */
const MOST_ALIKE = 2;

interface Tally {
  count: number;
  findings: number;
}

/** What tells findings apart: where they were thrown, else the first line without numbers. */
function kindOf(what: string): string {
  const frame = /at [^\n]*\/(src\/[^\n):]+:\d+)/.exec(what)?.[1];
  const [line = ""] = what.split("\n");
  return `${line.replace(/0x[0-9a-f]+|\d+/gi, "N").slice(0, 160)} ${frame ?? ""}`;
}

function keep(target: string, what: string, bytes: Uint8Array, alike: Map<string, number>): void {
  const kind = kindOf(what);
  const times = (alike.get(kind) ?? 0) + 1;
  alike.set(kind, times);
  if (times > MOST_ALIKE) return;
  fs.mkdirSync(values.out, { recursive: true });
  const id = crypto.createHash("sha256").update(bytes).digest("hex").slice(0, 12);
  const file = path.join(values.out, `${target}-${id}`);
  fs.writeFileSync(`${file}.bin`, bytes);
  fs.writeFileSync(`${file}.txt`, `${what}\n`);
  process.stdout.write(
    `${target}: ${what.split("\n").slice(0, 6).join("\n  ")}\n  ${file}.bin (${bytes.length} bytes)\n`,
  );
}

/** Processor time of a process in ms, where the system has /proc (proc(5): stat, in hundredths of seconds). */
function cpuMs(pid: number | undefined): number | undefined {
  try {
    const fields = fs
      .readFileSync(`/proc/${pid ?? 0}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return undefined;
  }
}

/** Runs one worker to its end. Returns how many inputs it tried; a worker that hangs or dies is a finding. */
function runWorker(
  program: string,
  order: WorkerOrder,
  onFound: (what: string, bytes: Uint8Array) => void,
): Promise<number> {
  return new Promise((resolve) => {
    const child = fork(program, [], { execArgv: ["--enable-source-maps", "--max-old-space-size=600"] });
    let last = Date.now();
    let lastCpu = 0;
    let count = 0;
    let isDone = false;
    let isHung = false;
    const timer = setInterval(() => {
      const cpu = cpuMs(child.pid);
      const isOver =
        cpu === undefined || lastCpu === 0
          ? Date.now() - last > (cpu === undefined ? HANG_MS : HANG_WALL_MS)
          : cpu - lastCpu > HANG_MS || Date.now() - last > HANG_WALL_MS;
      if (!isOver) return;
      isHung = true;
      child.kill("SIGKILL");
    }, 1000);
    child.on("message", (news: WorkerNews) => {
      last = Date.now();
      lastCpu = cpuMs(child.pid) ?? 0;
      if (news.kind === "found") onFound(news.what, Buffer.from(news.bytes, "base64"));
      else ({ count } = news);
      if (news.kind === "done") isDone = true;
    });
    child.on("exit", (code, signal) => {
      clearInterval(timer);
      const bytes = fs.existsSync(order.scratch) ? fs.readFileSync(order.scratch) : new Uint8Array(0);
      if (isHung) onFound(`hangs: no answer for ${HANG_MS} ms`, bytes);
      else if (!isDone) onFound(`the process ends with ${code ?? signal}`, bytes);
      fs.rmSync(order.scratch, { force: true });
      resolve(count);
    });
    child.send(order);
  });
}

/** Ways that a check may choose among. */
const WAYS = 16;

/** Checks one input in several ways, in this process: for a debugger, and to see whether it is mended. */
async function tryOne(name: string, file: string): Promise<number> {
  installNodeCodecs();
  const target = TARGETS.find((one) => one.name === name);
  if (target === undefined) throw new Error(`no target '${name}'`);
  await target.seeds();
  const bytes = Uint8Array.from(fs.readFileSync(file));
  for (let way = 0; way < WAYS; way += 1) {
    const start = performance.now();
    const outcome = await target
      .run(bytes, new Random(way))
      .catch((error: unknown) => `VIOLATION ${String(error)}`);
    const mib = process.memoryUsage.rss() >> 20;
    process.stdout.write(`${Math.round(performance.now() - start)} ms, ${mib} MiB: ${outcome}\n`);
    if (outcome.startsWith("VIOLATION")) return 1;
  }
  return 0;
}

async function run(): Promise<number> {
  if (values.list) {
    process.stdout.write(`${TARGETS.map(({ name }) => name).join("\n")}\n`);
    return 0;
  }
  if (values.input !== undefined) return tryOne(values.target?.[0] ?? "", values.input);
  const names = values.target ?? TARGETS.map(({ name }) => name);
  const seconds = Number(values.seconds);
  const base = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
  const tallies = new Map<string, Tally>();
  const worker = await bundleWorker();
  for (const target of names) {
    const tally: Tally = { count: 0, findings: 0 };
    tallies.set(target, tally);
    const alike = new Map<string, number>();
    const end = Date.now() + seconds * 1000;
    // a worker that is ended early has a successor
    for (let round = 0; round === 0 || (Date.now() < end && round < 20); round += 1) {
      const scratch = path.join(os.tmpdir(), `guestscope-fuzz-${process.pid}-${round}`);
      const left = Math.max(1, (end - Date.now()) / 1000);
      const most = values.most === undefined ? {} : { most: Number(values.most) };
      tally.count += await runWorker(
        worker.file,
        { target, seed: base + round * 1_000_003, seconds: left, scratch, ...most },
        (what, bytes) => {
          tally.findings += 1;
          keep(target, what, bytes, alike);
        },
      );
      if (values.most !== undefined) break;
    }
    process.stdout.write(
      `${target}: ${tally.count} mutants, ${tally.findings} findings of ${alike.size} kinds\n`,
    );
  }
  worker.remove();
  return [...tallies.values()].some(({ findings }) => findings > 0) ? 1 : 0;
}

process.exitCode = await run();
