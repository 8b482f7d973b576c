import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RedisServer } from "../bench/redis.js";
import { writeSaves } from "../bench/saves.js";
import { fleet, fleetProgram, lacks, resultsIn, scratch, start } from "./harness.js";

const SMALL = 1 << 20;

let folder: string;
let cleanup: () => void;
beforeEach(() => {
  ({ folder, cleanup } = scratch());
});
afterEach(() => cleanup());

describe("without Redis", () => {
  it.each(["submit verify /etc/hostname", "work", "status"])(
    "%s says that none can be reached",
    async (line) => {
      const args = [...line.split(" "), "--redis", "redis://:hunter2@127.0.0.1:9"];
      const { status, stderr } = await fleet(args, { cwd: folder });
      expect(status).toBe(2);
      expect(stderr).toMatch(
        /^guestscope-fleet: redis:\/\/127\.0\.0\.1:9: no Redis can be reached: .*ECONNREFUSED.* \[redis\/unreachable\]\n$/,
      );
      expect(stderr).not.toContain("hunter2");
    },
  );

  it("refuses what is no address of Redis", async () => {
    const { status, stderr } = await fleet(["status", "--redis", "http://queue"]);
    expect(status).toBe(2);
    expect(stderr).toContain("redis://host:6379");
  });
});

describe.skipIf(lacks("redis-server"))("with Redis", () => {
  let redis: RedisServer;
  let reports: string;

  beforeEach(() => {
    reports = path.join(folder, "reports");
  });
  afterEach(async () => redis.kill());

  const serve = async (settings: Parameters<typeof RedisServer.start>[1] = {}): Promise<string[]> => {
    redis = await RedisServer.start(path.join(folder, "redis"), settings);
    return ["--redis", redis.url];
  };

  it("says that a password is wrong, and takes the right one from a file or a variable", async () => {
    await serve({ password: "open sesame" });
    const plain = ["--redis", `redis://127.0.0.1:${redis.port}`];
    for (const [env, reason] of [
      [{}, "NOAUTH"],
      [{ GUESTSCOPE_REDIS_PASSWORD: "guess" }, "WRONGPASS"],
    ] as const) {
      const { status, stderr } = await fleet(["status", ...plain], { env });
      expect(status).toBe(2);
      expect(stderr).toContain("Redis doesn't accept the user or password");
      expect(stderr).toContain(reason);
      expect(stderr).not.toContain("guess");
    }
    fs.writeFileSync(path.join(folder, "password"), "open sesame\n");
    expect(
      (await fleet(["status", ...plain, "--redis-password-file", path.join(folder, "password")])).status,
    ).toBe(0);
    expect(
      (await fleet(["status", ...plain], { env: { GUESTSCOPE_REDIS_PASSWORD: "open sesame" } })).status,
    ).toBe(0);
  });

  it.skipIf(lacks("openssl"))("speaks TLS, and checks the server's certificate", async () => {
    const [cert, key] = [path.join(folder, "cert.pem"), path.join(folder, "key.pem")];
    const subject = ["-subj", "/CN=queue", "-addext", "subjectAltName=IP:127.0.0.1"];
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        key,
        "-out",
        cert,
        ...subject,
      ],
      { stdio: "ignore" },
    );
    const queue = await serve({ tls: { cert, key, ca: cert }, password: "secret" });
    writeSaves(path.join(folder, "saves"), 3, SMALL);
    const trusted = [...queue, "--redis-ca", cert];
    expect((await fleet(["submit", "verify", ...trusted, path.join(folder, "saves")])).status).toBe(0);
    expect((await fleet(["work", "--drain", "--reports", reports, ...trusted])).status).toBe(0);
    expect((await resultsIn(reports)).length).toBe(3);
    const untrusted = await fleet(["status", ...queue]);
    expect(untrusted.status).toBe(2);
    expect(untrusted.stderr).toMatch(/self-signed certificate/);
  });

  it("puts a job back when the report's disk is full; nothing is lost", async () => {
    const queue = await serve();
    const saves = writeSaves(path.join(folder, "saves"), 40, SMALL);
    await fleet(["submit", "verify", ...queue, path.join(folder, "saves")]);
    const small = path.join(folder, "small");
    fs.mkdirSync(small);
    const mounted = mountSmall(small);
    if (!mounted) return;
    try {
      const full = await fleet(["work", "--drain", "--reports", small, ...queue]);
      expect(full.status).toBe(2);
      expect(full.stderr).toContain("no space left on the device; the job went back into the queue");
      expect(full.stderr).toContain("[os/ENOSPC]");
      const done = await resultsIn(small);
      expect(done.length).toBeLessThan(40);
      expect((await fleet(["work", "--drain", "--reports", reports, ...queue])).status).toBe(0);
      const rest = await resultsIn(reports);
      expect([...done, ...rest].map(({ source }) => source).sort()).toEqual(saves);
      expect(rest.every(({ status }) => status === "good")).toBe(true);
    } finally {
      execFileSync("umount", [small]);
    }
  });

  it("puts a job back when an output's disk is full", async () => {
    const queue = await serve();
    const saves = writeSaves(path.join(folder, "saves"), 1, SMALL);
    const small = path.join(folder, "small");
    fs.mkdirSync(small);
    if (!mountSmall(small)) return;
    try {
      await fleet(["submit", "convert", "--output", small, ...queue, ...saves]);
      const full = await fleet(["work", "--drain", "--reports", reports, ...queue]);
      expect(full.status).toBe(2);
      expect(full.stderr).toContain("the job went back into the queue");
      expect(fs.readdirSync(small).filter((name) => !name.startsWith("."))).toEqual([]);
      execFileSync("mount", ["-o", "remount,size=64m", small]);
      expect((await fleet(["work", "--drain", "--reports", reports, ...queue])).status).toBe(0);
      expect((await resultsIn(reports)).map(({ status }) => status)).toEqual(["good"]);
      expect(fs.readdirSync(small).filter((name) => !name.startsWith(".")).length).toBe(1);
    } finally {
      execFileSync("umount", [small]);
    }
  });

  it("ends sources that vanish, change or become folders as failed; the others are done", async () => {
    const queue = await serve();
    const [gone = "", changed = "", replaced = "", kept = ""] = writeSaves(
      path.join(folder, "saves"),
      4,
      SMALL,
    );
    await fleet(["submit", "verify", ...queue, path.join(folder, "saves")]);
    fs.rmSync(gone);
    fs.rmSync(changed);
    fs.writeFileSync(changed, "other bytes");
    fs.rmSync(replaced);
    fs.mkdirSync(replaced);
    expect((await fleet(["work", "--drain", "--reports", reports, ...queue])).status).toBe(0);
    const codes = new Map(
      (await resultsIn(reports)).map(({ source, findings }) => [source, findings[0]?.code]),
    );
    expect(codes).toEqual(
      new Map([
        [gone, "fleet/source-gone"],
        [changed, "fleet/source-changed"],
        [replaced, "fleet/source-is-directory"],
        [kept, undefined],
      ]),
    );
    expect((await fleet(["report", reports])).status).toBe(2);
    // what failed is done again when that is asked for, and once
    fs.rmSync(replaced, { recursive: true });
    fs.linkSync(kept, replaced);
    const again = ["submit", "verify", "--json", ...queue, path.join(folder, "saves")];
    expect(JSON.parse((await fleet(again)).stdout)).toMatchObject({ submitted: 2 });
  });

  it("does failed jobs again with --retry-failed", async () => {
    const queue = await serve();
    const [save = ""] = writeSaves(path.join(folder, "saves"), 1, SMALL);
    const away = path.join(folder, "away");
    const submit = ["submit", "verify", "--json", ...queue, save];
    const work = ["work", "--drain", "--reports", reports, ...queue];
    await fleet(submit);
    fs.renameSync(save, away);
    await fleet(work);
    expect((await resultsIn(reports)).map(({ status }) => status)).toEqual(["failed"]);
    fs.renameSync(away, save);
    expect(JSON.parse((await fleet(submit)).stdout)).toMatchObject({ submitted: 0, known: 1 });
    expect(JSON.parse((await fleet([...submit, "--retry-failed"])).stdout)).toMatchObject({ submitted: 1 });
    await fleet(work);
    expect((await resultsIn(reports)).map(({ status }) => status)).toEqual(["good"]);
  });

  it("keeps away from a queue of another version", async () => {
    const queue = await serve();
    const [save = ""] = writeSaves(path.join(folder, "saves"), 1, SMALL);
    await fleet(["submit", "verify", ...queue, save]);
    const client = new Redis(redis.port);
    await client.hset("guestscope-fleet:guests:fleet-queue", "version", JSON.stringify(["2", "9.0.0"]));
    const before = await client.lrange("guestscope-fleet:guests:wait", 0, -1);
    for (const command of [
      ["submit", "verify", save],
      ["work", "--drain", "--reports", reports],
      ["status"],
    ]) {
      const { status, stderr } = await fleet([...command, ...queue]);
      expect(status).toBe(2);
      expect(stderr).toContain("queue 'guests' belongs to guestscope 9.0.0");
    }
    expect(await client.lrange("guestscope-fleet:guests:wait", 0, -1)).toEqual(before);
    expect(before.length).toBe(1);
    client.disconnect();
  });

  it("ends a job that hangs, and goes on", async () => {
    const queue = await serve();
    const saves = writeSaves(path.join(folder, "saves"), 200, SMALL);
    await fleet(["submit", "verify", ...queue, path.join(folder, "saves")]);
    const worker = start(fleetProgram, [
      "work",
      "--drain",
      "-c1",
      "--time",
      "2",
      "--reports",
      reports,
      ...queue,
    ]);
    await stopOneChild(worker.pid);
    expect((await worker.ended).status).toBe(0);
    const results = await resultsIn(reports);
    expect(results.length).toBe(saves.length);
    const failed = results.filter(({ status }) => status !== "good");
    expect(failed.map(({ findings, fault }) => [findings[0]?.code, fault])).toEqual([
      ["fleet/time-limit", "input"],
    ]);
  });
});

/** Stops the process that verifies while it is at an input: to its worker it hangs. */
async function stopOneChild(pid: number): Promise<void> {
  const { childrenOf, pause, until } = await import("./harness.js");
  const child = await until(() => childrenOf(pid)[0]);
  await pause(0.3);
  process.kill(child, "SIGSTOP");
}

/** A file system of 60 KiB. Only root may mount one. */
function mountSmall(folder: string): boolean {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=60k", "tmpfs", folder], { stdio: "ignore" });
    return true;
  } catch {
    process.stderr.write("\n*** SKIPPED: no small file system can be mounted here ***\n");
    return false;
  }
}
