import * as fs from "node:fs";
import { installNodeCodecs } from "../src/io/node/codecs.js";
import { FieldFinder } from "./fields.js";
import { mutate, type Seed } from "./mutate.js";
import { Random, seedOf } from "./random.js";
import { TARGETS, type Target } from "./targets.js";

/**
 * Mutates and checks in a process of its own, so that what hangs or fills memory can be ended. Before each input the
 * input itself is written to a scratch file: whoever ends this process finds it there.
 */

/** What a worker is started with. */
export interface WorkerOrder {
  readonly target: string;
  readonly seed: number;
  readonly seconds: number;
  /** Where the input at hand is put. */
  readonly scratch: string;
  /** Ends after so many mutants, if before the time. */
  readonly most?: number;
}

/** What a worker tells. */
export type WorkerNews =
  | { readonly kind: "progress"; readonly count: number; readonly pool: number }
  | { readonly kind: "found"; readonly what: string; readonly bytes: string; readonly number: number }
  | { readonly kind: "done"; readonly count: number; readonly pool: number };

/** Limits for an input below a mebibyte: processor time of all that is done with it, growth of resident memory. */
const MOST_MS = 1000;
const MOST_GROWTH = 150 << 20;
/** For the large ones of a target that changes them itself. */
const MOST_MS_WHOLE = 12_000;
const MOST_GROWTH_WHOLE = 400 << 20;
/** Inputs that went a way of their own are kept to start from. */
const MOST_POOL = 1500;
const TOLD_EVERY_MS = 500;

const tell = (news: WorkerNews): void => void process.send?.(news);

async function main(order: WorkerOrder): Promise<void> {
  installNodeCodecs();
  const finder = new FieldFinder();
  await finder.watch();
  const target = TARGETS.find(({ name }) => name === order.target);
  if (target === undefined) throw new Error(`no target '${order.target}'`);
  const seeds: Seed[] = [];
  for (const [name, bytes] of Object.entries(await target.seeds())) {
    if (target.isWhole === true) {
      seeds.push({ name, bytes, fields: [] });
      tell({ kind: "progress", count: 0, pool: seeds.length });
      continue;
    }
    let outcome = "";
    const fields = await finder.fieldsOf(bytes, async () => {
      outcome = await checked(target, bytes, new Random(1), -1);
    });
    void outcome;
    seeds.push({ name, bytes, fields });
  }
  const pool = [...seeds];
  const seen = new Set<string>();
  const scratch = fs.openSync(order.scratch, "w+");
  const start = Date.now();
  let told = start;
  let count = 0;
  for (; count < (order.most ?? Infinity); count += 1) {
    const now = Date.now();
    if (now - start > order.seconds * 1000 || seeds.length === 0) break;
    if (now - told > TOLD_EVERY_MS) {
      told = now;
      tell({ kind: "progress", count, pool: pool.length });
      // messages go out between turns only
      await new Promise((resolve) => setImmediate(resolve));
    }
    const random = new Random(seedOf(target.name, order.seed + count));
    const seed = random.oneIn(2) ? random.pick(seeds) : random.pick(pool);
    if (seed === undefined) break;
    if (target.cut !== undefined && random.oneIn(25)) {
      await cut(target, random.pick(seeds) ?? seed, random, count);
      continue;
    }
    if (target.isWhole === true) {
      await checked(target, seed.bytes, random, count, seed.name);
      continue;
    }
    const bytes = mutate(seed, pool, random);
    fs.ftruncateSync(scratch, 0);
    fs.writeSync(scratch, bytes, 0, bytes.length, 0);
    const outcome = await checked(target, bytes, random, count);
    if (!seen.has(outcome) && pool.length < MOST_POOL && bytes.length < 512 << 10) {
      seen.add(outcome);
      pool.push({ name: `mutant ${count}`, bytes, fields: seed.fields });
    }
  }
  tell({ kind: "done", count, pool: pool.length });
}

/** Processor time of this process: the machine may be busy with other things. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function cpuMsOf(target: Target, bytes: Uint8Array, random: Random): Promise<number> {
  const start = cpuMs();
  await target.run(bytes, random).catch(() => undefined);
  return cpuMs() - start;
}

/** Resident memory after the input before this one. */
let residentBefore = Infinity;

/** One input, its time and its memory. A limit that is passed once may be the machine's fault: it must be passed again. */
async function checked(
  target: Target,
  bytes: Uint8Array,
  random: Random,
  number: number,
  seed = "",
): Promise<string> {
  const start = performance.now();
  const isWhole = target.isWhole === true;
  const [mostMs, mostGrowth] = isWhole ? [MOST_MS_WHOLE, MOST_GROWTH_WHOLE] : [MOST_MS, MOST_GROWTH];
  const found = (what: string): void => {
    const kept = isWhole ? new Uint8Array(0) : bytes;
    const text = isWhole ? `${seed}, ${number}: ${what}` : what;
    tell({ kind: "found", what: text, bytes: Buffer.from(kept).toString("base64"), number });
  };
  let outcome: string;
  try {
    outcome = await target.run(bytes, random);
  } catch (error) {
    found(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return "violation";
  }
  // the machine may have been busy with other things: processor time decides
  if (number >= 0 && performance.now() - start > mostMs) {
    const ms = Math.min(await cpuMsOf(target, bytes, random), await cpuMsOf(target, bytes, random));
    if (ms > mostMs) found(`slow: ${Math.round(ms)} ms`);
  }
  const resident = process.memoryUsage.rss();
  const growth = resident - residentBefore;
  residentBefore = resident;
  if (number >= 0 && growth > mostGrowth) found(`memory: ${growth >> 20} MiB more`);
  return outcome;
}

async function cut(target: Target, seed: Seed, random: Random, number: number): Promise<void> {
  const at = random.below(seed.bytes.length);
  try {
    await target.cut?.(seed.bytes, at);
  } catch (error) {
    tell({
      kind: "found",
      what: `seed ${seed.name} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      bytes: Buffer.from(seed.bytes.subarray(0, at)).toString("base64"),
      number,
    });
  }
}

process.on("message", (order: WorkerOrder) => {
  main(order).then(
    () => process.disconnect(),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? (error.stack ?? "") : String(error)}\n`);
      process.exit(1);
    },
  );
});
