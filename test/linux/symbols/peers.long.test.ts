import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  gunzipText,
  hasProgram,
  hasShared,
  runCli,
  scratch,
  sharedData,
  skipUnless,
  unzstd,
} from "../../shared.js";

const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");

interface TruthTask {
  readonly pid: number;
  readonly comm: string;
  readonly task: string;
  readonly stack: readonly { readonly pc: string; readonly symbol?: string }[];
}

/** What drgn is asked, with our vmlinux and vmcore alone. */
const TASKS = `
import json
from drgn.helpers.linux.pid import for_each_task
assert prog["init_task"].comm.string_() == b"swapper/0"
print(json.dumps(sorted(
    [task.pid.value_(), task.comm.string_().decode(), f"{task.value_():x}", [f"{frame.pc:x}" for frame in prog.stack_trace(task)]]
    for task in for_each_task(prog)
)))
`;

describe.skipIf(noData)("symbol files of a saved guest (Linux 6.1, Xen HVM)", () => {
  const { folder, cleanup } = scratch();
  const vmlinux = path.join(folder, "vmlinux");
  const vmcore = path.join(folder, "vmcore");
  let save: string;

  beforeAll(() => {
    save = unzstd(path.join(sharedData, "xen-v3/hvmlinux.save.zst"), folder);
    for (const args of [
      ["extract", "--quiet", "--to", "elf", save, vmcore],
      ["symbols", "--quiet", save, vmlinux],
    ])
      expect(runCli(args)).toMatchObject({ status: 0, stderr: "" });
  }, 120_000);

  afterAll(cleanup);

  /** Output of commands of crash by command. */
  function crash(...commands: readonly string[]): ReadonlyMap<string, string> {
    const script = commands.map((command, i) => `${command} > ${path.join(folder, `crash.${i}`)}`).join("\n");
    const { status } = spawnSync("crash", ["-s", vmlinux, vmcore], {
      input: `${script}\nquit\n`,
      encoding: "utf8",
      cwd: folder,
      timeout: 120_000,
    });
    expect(status).toBe(0);
    return new Map(
      commands.map((command, i) => [command, fs.readFileSync(path.join(folder, `crash.${i}`), "utf8")]),
    );
  }

  it.skipIf(skipUnless(hasProgram("eu-elflint") && hasProgram("readelf"), "eu-elflint and readelf"))(
    "a whole image is well-formed",
    () => {
      const lint = spawnSync("eu-elflint", [vmlinux], { encoding: "utf8" });
      expect(lint.stdout).toBe("No errors\n");
      const read = spawnSync("readelf", ["-SlnW", vmlinux], { encoding: "utf8" });
      expect(read.stderr).toBe("");
      expect(read.stdout).not.toContain(".absent");
      expect(read.stdout).toContain("NT_GNU_BUILD_ID");
    },
  );

  it.skipIf(skipUnless(hasProgram("crash"), "crash"))(
    "crash opens the dump by them",
    { timeout: 240_000 },
    () => {
      const said = crash("sys", "log", "mod", "mount", "net", "struct list_head");
      expect(said.get("sys")).toContain("RELEASE: 6.1.0-56-cloud-amd64");
      expect(said.get("log")).toBe(gunzipText(path.join(sharedData, "xen-v3/hvmlinux.dmesg.txt.gz")));
      expect(said.get("mod")).toBe("no modules installed\n");
      const { mounts } = JSON.parse(runCli(["mount", "--json", save]).stdout) as {
        mounts: { address: string; target: string }[];
      };
      const mounted = (said.get("mount") ?? "").trim().split("\n").slice(1);
      expect(
        mounted.map((line) => line.trim().split(/\s+/)).map((row) => [`0x${row[0]}`, row.at(-1)]),
      ).toEqual(mounts.map(({ address, target }) => [address, target]));
      expect(said.get("net")).toMatch(/^[0-9a-f]{16} +lo +/m);
      expect(said.get("struct list_head")).toContain("SIZE: 16");
    },
  );

  it.skipIf(skipUnless(hasProgram("drgn"), "drgn"))(
    "drgn finds the tasks and stacks that it finds with debug information",
    { timeout: 240_000 },
    () => {
      const script = path.join(folder, "tasks.py");
      fs.writeFileSync(script, TASKS);
      const { stdout, stderr } = spawnSync("drgn", ["-q", "-c", vmcore, "-s", vmlinux, script], {
        encoding: "utf8",
        maxBuffer: 1 << 26,
      });
      expect(stderr).toBe("");
      const { tasks } = JSON.parse(gunzipText(path.join(sharedData, "xen-v3/hvmlinux.tasks.json.gz"))) as {
        tasks: readonly TruthTask[];
      };
      // the vCPU's own task has another stack where its number is taken for a process's (docs/symbol-files.md)
      const sleeping = (pid: number): boolean => pid !== 1 && pid !== RUNNING;
      const found = JSON.parse(stdout) as readonly (readonly [number, string, string, readonly string[]])[];
      expect(
        found.map(([pid, comm, task, frames]) => [pid, comm, task, sleeping(pid) ? frames : []]),
      ).toEqual(
        tasks
          .map(({ pid, comm, task, stack }) => [
            pid,
            comm,
            task,
            sleeping(pid) ? stack.map(({ pc }) => pc) : [],
          ])
          .sort((a, b) => Number(a[0]) - Number(b[0])),
      );
    },
  );
});

/** The stopper thread that suspended the guest was running on the one vCPU. */
const RUNNING = 16;
