import * as fs from "node:fs";
import * as path from "node:path";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RedisServer } from "../bench/redis.js";
import { fixtureSaves, writeSaves } from "../bench/saves.js";
import {
  childrenOf,
  core,
  filesIn,
  fleet,
  fleetProgram,
  lacks,
  pause,
  resultsIn,
  type Running,
  scratch,
  start,
} from "./harness.js";

const SMALL = 1 << 20;

describe.skipIf(lacks("redis-server"))("a queue on Redis", () => {
  let folder: string;
  let cleanup: () => void;
  let redis: RedisServer;
  let queue: string[];

  beforeEach(async () => {
    ({ folder, cleanup } = scratch());
    redis = await RedisServer.start(path.join(folder, "redis"));
    queue = ["--redis", redis.url];
  });
  afterEach(async () => {
    await redis.kill();
    cleanup();
  });

  it("reports 2,000 inputs once each while workers are killed and Redis restarts", async () => {
    const reports = path.join(folder, "reports");
    const outputs = path.join(folder, "outputs");
    const saves = writeSaves(path.join(folder, "saves"), 2000);
    const damaged = path.join(folder, "saves/damaged.save");
    fs.writeFileSync(damaged, fs.readFileSync(saves[0] ?? "").subarray(0, 5000));
    const converted = saves.slice(0, 60);
    expect((await fleet(["submit", "verify", ...queue, path.join(folder, "saves")])).status).toBe(0);
    const convert = [
      "submit",
      "convert",
      "--pass=--allow-loss",
      "--output",
      outputs,
      ...queue,
      "--list",
      "-",
    ];
    fs.mkdirSync(outputs);
    expect((await fleet(convert, { input: converted.join("\n") })).status).toBe(0);

    const work = [
      "work",
      "--drain",
      "--lost-after",
      "2",
      "--concurrency",
      "1",
      "--reports",
      reports,
      ...queue,
    ];
    const startWorker = (): Running => start(fleetProgram, work);
    const workers = Array.from({ length: 4 }, startWorker);
    const orphans: number[] = [];
    let [kills, restarted] = [0, false];
    const left = async (): Promise<number> => {
      const { stdout, status } = await fleet(["status", "--json", ...queue]);
      return status === 0 ? (JSON.parse(stdout) as { left: number }).left : -1;
    };
    await pause(1);
    for (let victim = 0; kills < 3 || (await left()) !== 0; victim = (victim + 1) % workers.length) {
      const worker = workers[victim];
      if (worker === undefined) continue;
      orphans.push(...childrenOf(worker.pid));
      try {
        process.kill(worker.pid, "SIGKILL");
        kills += 1;
      } catch {
        // it had ended by itself: the queue is empty
      }
      await worker.ended;
      workers[victim] = startWorker();
      if (kills === 3 && !restarted) {
        await redis.kill("SIGKILL");
        await pause(0.5);
        await redis.start();
        restarted = true;
      }
      await pause(1);
    }
    const ends = await Promise.all(workers.map(({ ended }) => ended));
    expect(ends.map(({ status }) => status)).toEqual([0, 0, 0, 0]);
    expect(kills).toBeGreaterThanOrEqual(3);
    expect(restarted).toBe(true);

    // the kills did hit: jobs came back from lost workers
    const client = new Redis(redis.port);
    const keys = await client.keys("guestscope-fleet:guests:*");
    const returned = await Promise.all(
      keys.filter((key) => /:[0-9a-f]{32}$/.test(key)).map((key) => client.hget(key, "stc")),
    );
    client.disconnect();
    expect(returned.filter((count) => Number(count ?? 0) > 0).length).toBeGreaterThan(0);

    const results = await resultsIn(reports);
    const named = (action: string): string[] =>
      results
        .filter((result) => result.action === action)
        .map(({ source }) => source)
        .sort();
    expect(named("verify")).toEqual([...saves, damaged].sort());
    expect(named("convert")).toEqual(converted.toSorted());
    expect(results.filter(({ status }) => status !== "good").map(({ source }) => source)).toEqual([damaged]);
    // every output is whole: it is what the program writes by itself
    const files = results.flatMap(({ output }) => (output === undefined ? [] : [output.path])).sort();
    expect(
      filesIn(outputs)
        .map((name) => path.join(outputs, name))
        .filter((name) => !name.includes("/."))
        .sort(),
    ).toEqual(files);
    const expected = new Map<string, Buffer>();
    for (const { action, source, output } of results) {
      if (action !== "convert" || output === undefined) continue;
      const kind = path.basename(source).slice(6);
      if (!expected.has(kind)) {
        const alone = path.join(folder, kind);
        expect((await core(["convert", "--quiet", "--allow-loss", source, alone])).status).toBe(0);
        expected.set(kind, fs.readFileSync(alone));
      }
      expect(expected.get(kind)?.equals(fs.readFileSync(output.path)), source).toBe(true);
    }
    // nothing that a killed worker started goes on without it
    expect(orphans.filter((pid) => isAlive(pid))).toEqual([]);
    expect(filesIn(reports).filter((name) => name.endsWith(".json")).length).toBe(results.length);
  });

  it("knows what was submitted before, in Redis and by its result", async () => {
    const reports = path.join(folder, "reports");
    const saves = writeSaves(path.join(folder, "saves"), 6, SMALL);
    const submit = ["submit", "verify", "--json", ...queue, path.join(folder, "saves")];
    const work = ["work", "--drain", "--json", "--reports", reports, ...queue];
    const json = async (args: string[]): Promise<Record<string, unknown>> =>
      JSON.parse((await fleet(args)).stdout) as Record<string, unknown>;
    expect(await json(submit)).toMatchObject({ sources: 6, submitted: 6, known: 0 });
    expect(await json(submit)).toMatchObject({ sources: 6, submitted: 0, known: 6 });
    expect(await json(work)).toMatchObject({ inputs: 6, good: 6 });
    expect(await json(submit)).toMatchObject({ submitted: 0, known: 6 });
    // another queue doesn't know them, the report does
    const other = [...queue, "--queue", "other"];
    expect(await json([...submit, ...other])).toMatchObject({ submitted: 6 });
    expect(await json([...work, ...other])).toMatchObject({ inputs: 0 });
    // another state of a source is another job
    const [first = ""] = saves;
    fs.rmSync(first);
    fs.writeFileSync(first, fixtureSaves()[0]?.bytes ?? "");
    expect(await json(submit)).toMatchObject({ submitted: 1, known: 5 });
    expect(await json(work)).toMatchObject({ inputs: 1 });
    expect((await resultsIn(reports)).length).toBe(7);
  });

  it("ends an input with which worker after worker was lost", async () => {
    const reports = path.join(folder, "reports");
    writeSaves(path.join(folder, "saves"), 2, SMALL);
    await fleet(["submit", "verify", ...queue, path.join(folder, "saves")]);
    const client = new Redis(redis.port);
    const [poison = "", other = ""] = await client.lrange("guestscope-fleet:guests:wait", 0, -1);
    await client.hset(`guestscope-fleet:guests:${poison}`, "stc", 6);
    await client.hset(`guestscope-fleet:guests:${other}`, "stc", 5);
    client.disconnect();
    await fleet(["work", "--drain", "--reports", reports, ...queue]);
    const codes = new Map((await resultsIn(reports)).map(({ key, findings }) => [key, findings[0]?.code]));
    expect(codes).toEqual(
      new Map([
        [poison, "fleet/worker-lost"],
        [other, undefined],
      ]),
    );
  });

  it("fails what is no job of the fleet, and says so", async () => {
    const foreign = new Queue("guests", { connection: { port: redis.port }, prefix: "guestscope-fleet" });
    await foreign.add("verify", { source: "x" }, { jobId: "foreign" });
    const { status, stderr } = await fleet([
      "work",
      "--drain",
      "--reports",
      path.join(folder, "reports"),
      ...queue,
    ]);
    expect(status).toBe(0);
    expect(stderr).toContain("job foreign: the queue holds a job that is not of guestscope-fleet");
    expect(await foreign.getJobState("foreign")).toBe("failed");
    await foreign.close();
  });

  it("waits while the queue is full", async () => {
    writeSaves(path.join(folder, "saves"), 25, SMALL);
    const submit = start(fleetProgram, [
      "submit",
      "verify",
      "--max-waiting",
      "10",
      ...queue,
      path.join(folder, "saves"),
    ]);
    const waiting = async (): Promise<number> =>
      (JSON.parse((await fleet(["status", "--json", ...queue])).stdout) as { waiting: number }).waiting;
    await pause(3);
    expect(await waiting()).toBe(10);
    const [worked, submitted] = await Promise.all([
      fleet(["work", "--reports", path.join(folder, "reports"), "--drain", ...queue]),
      submit.ended,
    ]);
    expect([worked.status, submitted.status]).toEqual([0, 0]);
    await fleet(["work", "--reports", path.join(folder, "reports"), "--drain", ...queue]);
    expect((await resultsIn(path.join(folder, "reports"))).length).toBe(25);
  });

  it("does a job again whose process was killed, and shows progress and findings", async () => {
    const reports = path.join(folder, "reports");
    writeSaves(path.join(folder, "saves"), 300, SMALL);
    fs.writeFileSync(path.join(folder, "saves/nothing"), "no saved guest");
    await fleet(["submit", "verify", ...queue, path.join(folder, "saves")]);
    const worker = start(fleetProgram, ["work", "--drain", "-c1", "--reports", reports, ...queue]);
    for (let kills = 0; kills < 2; kills += 1) {
      await pause(0.7);
      for (const pid of childrenOf(worker.pid)) process.kill(pid, "SIGKILL");
    }
    expect((await worker.ended).status).toBe(0);
    const results = await resultsIn(reports);
    expect(results.length).toBe(301);
    expect(results.filter(({ status }) => status !== "good").map(({ verdict }) => verdict)).toEqual([
      "invalid: 1 error",
    ]);
    const status = await fleet(["status", ...queue]);
    expect(status.stdout).toContain("301 of 301 inputs");
    expect(status.stdout).toMatch(/300 good, 1 bad, 0 failed\n +1 {2}open\/unknown/);
  });
});

function isAlive(pid: number): boolean {
  try {
    // a zombie is dead, it only hasn't been fetched
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return false;
  }
}
