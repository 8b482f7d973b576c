import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fixtureSaves, writeSaves } from "../bench/saves.js";
import {
  childrenOf,
  core,
  filesIn,
  fleet,
  fleetProgram,
  resultsIn,
  scratch,
  start,
  until,
} from "./harness.js";

const SMALL = 1 << 20;

let folder: string;
let saves: string;
let cleanup: () => void;
beforeEach(() => {
  ({ folder, cleanup } = scratch());
  saves = path.join(folder, "saves");
});
afterEach(() => cleanup());

interface RunDocument {
  readonly inputs: number;
  readonly known: number;
  readonly good: number;
  readonly bad: number;
  readonly failed: number;
}
const here = async (
  args: string[],
  cwd = folder,
): Promise<RunDocument & { status: number | null; stderr: string }> => {
  const { stdout, status, stderr } = await fleet(["submit", ...args, "--local", "--json"], { cwd });
  return { ...(JSON.parse(stdout) as RunDocument), status, stderr };
};

describe("--local", () => {
  it("says of every input what guestscope verify says", async () => {
    const all = writeSaves(saves, fixtureSaves().length);
    const junk = path.join(saves, "junk");
    fs.writeFileSync(junk, "no saved guest");
    const cut = path.join(saves, "cut.save");
    fs.writeFileSync(cut, fs.readFileSync(all[0] ?? "").subarray(0, 4000));
    expect(await here(["verify", "saves"])).toMatchObject({
      status: 1,
      inputs: all.length + 2,
      bad: 2,
      failed: 0,
    });
    const { inputs } = JSON.parse((await core(["verify", "--json", ...all, junk, cut])).stdout) as {
      inputs: { source: string; verdict: string; findings: { code: string; message: string }[] }[];
    };
    const expected = new Map(
      inputs.map(({ source, verdict, findings }) => [
        source,
        [verdict, findings.map(({ code, message }) => [code, message])],
      ]),
    );
    const results = await resultsIn(path.join(folder, "guestscope-reports"));
    const found = new Map(
      results.map(({ source, verdict, findings }) => [
        source,
        [verdict, findings.map(({ code, message }) => [code, message])],
      ]),
    );
    expect(found).toEqual(expected);
  });

  it("takes up what was ended: only what has no result is done", async () => {
    const all = writeSaves(saves, 400);
    const first = start(fleetProgram, ["submit", "verify", "--local", "-c2", "saves"], { cwd: folder });
    const children = await until(() => {
      const found = childrenOf(first.pid);
      return found.length === 2 ? found : undefined;
    });
    const reports = path.join(folder, "guestscope-reports");
    await until(() =>
      filesIn(reports).filter((name) => name.endsWith(".json")).length > 20 ? true : undefined,
    );
    process.kill(first.pid, "SIGKILL");
    await first.ended;
    const before = (await resultsIn(reports)).length;
    expect(before).toBeGreaterThan(20);
    expect(before).toBeLessThan(all.length);
    await until(() => (children.every((pid) => !fs.existsSync(`/proc/${pid}`)) ? true : undefined));
    expect(await here(["verify", "saves"])).toMatchObject({ status: 0, inputs: all.length, known: before });
    expect((await resultsIn(reports)).map(({ source }) => source).sort()).toEqual(all);
  });

  it("ends jobs under way at a signal", async () => {
    writeSaves(saves, 400);
    const run = start(fleetProgram, ["submit", "verify", "--local", "-c1", "saves"], { cwd: folder });
    const reports = path.join(folder, "guestscope-reports");
    await until(() => (fs.existsSync(reports) && filesIn(reports).length > 5 ? true : undefined));
    process.kill(run.pid, "SIGTERM");
    const { status, stdout } = await run.ended;
    expect(status).toBe(2);
    const told = Number(/^(\d+) inputs:/m.exec(stdout)?.[1]);
    expect((await resultsIn(reports)).length).toBe(told);
    expect(filesIn(reports).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("does each part of a selection once, wherever it runs", async () => {
    const all = writeSaves(saves, 30, SMALL);
    const parts = [];
    for (let index = 0; index < 3; index += 1) {
      const args = [
        "submit",
        "verify",
        "--local",
        "--json",
        "--shard",
        "/3",
        "--reports",
        `part-${index}`,
        "saves",
      ];
      const { stdout } = await fleet(args, { cwd: folder, env: { JOB_COMPLETION_INDEX: String(index) } });
      parts.push((JSON.parse(stdout) as RunDocument).inputs);
    }
    expect(parts.reduce((sum, count) => sum + count, 0)).toBe(all.length);
    expect(Math.min(...parts)).toBeGreaterThan(0);
    const { stdout } = await fleet(["report", "--format", "csv", "part-0", "part-1", "part-2"], {
      cwd: folder,
    });
    expect(
      stdout
        .split("\r\n")
        .slice(1, -1)
        .map((line) => line.split(",", 1).join())
        .sort(),
    ).toEqual(all);
  });

  it("takes files, folders, patterns and lists; says what it can't take, and does the rest", async () => {
    const [one = "", two = "", three = ""] = writeSaves(saves, 3, SMALL);
    fs.writeFileSync(path.join(folder, "list"), `# saves\n${one}\r\n\n${saves}\n/nowhere/at/all.save\n`);
    const list = await here(["verify", "--list", "list", two]);
    expect(list).toMatchObject({ status: 2, inputs: 2, good: 2 });
    expect(list.stderr).toContain(`${saves}: is a directory, not a saved guest [fleet/source-is-directory]`);
    expect(list.stderr).toContain("/nowhere/at/all.save: no such file [os/ENOENT]");
    expect(await here(["verify", "sav*/00002-*.save"])).toMatchObject({ status: 0, inputs: 1, known: 0 });
    expect(await here(["verify", "saves", three])).toMatchObject({ status: 0, inputs: 3, known: 3 });
    expect((await here(["verify", "none/*.save"])).stderr).toContain(
      "none/*.save: no file matches the pattern",
    );
    expect((await here(["verify", "--list", "saves"])).stderr).toContain("saves: is a directory");
    execFileSync("mkfifo", [path.join(folder, "pipe")]);
    expect((await here(["verify", "pipe"])).stderr).toContain("is neither a file nor a block device");
  });

  it("writes the outputs that guestscope writes, once, under names that don't collide", async () => {
    const all = writeSaves(saves, 4, SMALL);
    fs.mkdirSync(path.join(folder, "other"));
    const twin = path.join(folder, "other", path.basename(all[0] ?? ""));
    fs.copyFileSync(all[0] ?? "", twin);
    fs.mkdirSync(path.join(folder, "out"));
    const args = ["extract", "--output", "out", "--to", "raw", "--pass=--partial", "saves", "other"];
    expect(await here(args)).toMatchObject({ status: 0, good: 5, known: 0 });
    const results = await resultsIn(path.join(folder, "guestscope-reports"));
    const outputs = results.map(({ output }) => output?.path ?? "");
    expect(new Set(outputs).size).toBe(5);
    expect(
      filesIn(path.join(folder, "out"))
        .map((name) => path.join(folder, "out", name))
        .sort(),
    ).toEqual(outputs.toSorted());
    for (const { source, output } of results) {
      const alone = path.join(folder, "alone");
      expect((await core(["extract", "--force", "--to", "raw", "--partial", source, alone])).status).toBe(0);
      expect(fs.readFileSync(output?.path ?? "").equals(fs.readFileSync(alone))).toBe(true);
      expect(output?.size).toBe(fs.statSync(alone).size);
    }
    const before = fs.statSync(outputs[0] ?? "").ino;
    expect(await here(args)).toMatchObject({ status: 0, known: 5 });
    expect(fs.statSync(outputs[0] ?? "").ino).toBe(before);
  });

  it("hands on what guestscope says where it can't do it", async () => {
    const [save = ""] = writeSaves(saves, 1, SMALL);
    fs.writeFileSync(path.join(saves, "junk"), "no saved guest");
    fs.mkdirSync(path.join(folder, "out"));
    expect(await here(["convert", "--output", "out", "saves"])).toMatchObject({
      status: 1,
      good: 1,
      failed: 1,
    });
    const { stderr } = await core(["convert", path.join(saves, "junk"), path.join(folder, "x")]);
    const [failed] = (await resultsIn(path.join(folder, "guestscope-reports"))).filter(
      ({ status }) => status === "failed",
    );
    const code = failed?.findings[0]?.code ?? "";
    expect(code).not.toBe("");
    expect(stderr).toContain(`[${code}]`);
    expect(fs.readdirSync(path.join(folder, "out")).filter((name) => !name.startsWith(".")).length).toBe(1);
    const ps = await here(["ps", "--reports", "ps-reports", save]);
    const alone = await core(["ps", "--json", save]);
    expect(ps.good).toBe(alone.status === 0 ? 1 : 0);
    const [result] = await resultsIn(path.join(folder, "ps-reports"));
    if (alone.status === 0) expect(result?.document).toEqual(JSON.parse(alone.stdout));
    else expect(alone.stderr).toContain(result?.findings[0]?.message);
  });

  it.each([
    [["extract", "x"], "extract needs --output DIRECTORY"],
    [["verify", "--output", "x", "x"], "verify has no output"],
    [["convert", "--output", "x", "--to", "elf", "x"], "one of v3, v2 is expected"],
    [["verify", "--concurrency", "0", "x"], "--concurrency 0"],
    [["verify", "--shard", "8/8", "x"], "shard 8/8"],
    [["verify"], "no source is named"],
    [["extract", "--output", "x", "--strict", "x"], "--strict doesn't go with extract"],
  ])("refuses %j", async (args, message) => {
    const { status, stderr } = await fleet(["submit", ...args, "--local"], { cwd: folder });
    expect(status).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr.trim().split("\n").length).toBe(1);
  });
});
