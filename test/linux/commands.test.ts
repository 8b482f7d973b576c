import { describe, expect, it } from "vitest";
import { inTree } from "../../src/cli/task-tree.js";
import { summarizeLinux } from "../../src/linux/summary.js";
import { gunzipText, runCli } from "../shared.js";
import { fixturePath, openFixture, readTruth } from "./fixture.js";

const PANIC = fixturePath("panic-6.1.elf.xz");
const ARM = fixturePath("arm64-6.12.elf.xz");

function json(...args: readonly string[]): Record<string, unknown> {
  const { status, stdout, stderr } = runCli(args);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
}

describe("guestscope ps", () => {
  it("--json has every thread with the documented names", () => {
    const { kind, tasks } = json("ps", "--json", "--threads", ARM) as {
      kind: string;
      tasks: Record<string, unknown>[];
    };
    expect(kind).toBe("linux-tasks");
    const truth = readTruth(fixturePath("arm64-6.12.tasks.json.gz")).tasks;
    const real = tasks.filter(({ idle }) => idle !== true).sort((a, b) => Number(a.pid) - Number(b.pid));
    expect(
      real.map(({ pid, tgid, ppid, comm, task, kthread, uid, cmdline }) => ({
        pid,
        tgid,
        ppid,
        comm,
        task,
        kthread,
        uid,
        cmdline,
      })),
    ).toEqual(
      truth.map(({ pid, tgid, ppid, comm, task, kthread, uid, cmdline }) => ({
        pid,
        tgid,
        ppid,
        comm,
        task: `0x${task}`,
        kthread,
        uid,
        cmdline,
      })),
    );
  });

  it("shows processes in columns, kernel threads in brackets, and children below parents with --tree", () => {
    const { status, stdout } = runCli(["ps", "--tree", PANIC]);
    expect(status).toBe(0);
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(/^ *PID +PPID +CPU +UID +ST +START +TIME +RSS +COMMAND$/);
    expect(stdout).toMatch(/^ *2 +0 .*\[kthreadd\]$/m);
    expect(stdout).toMatch(/\|-\[rcu_gp\]$/m);
  });
});

describe("guestscope sys", () => {
  it("tells of a panic, and of what each CPU was doing", () => {
    const { status, stdout } = runCli(["sys", PANIC]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^panic +sysrq triggered crash$/m);
    expect(stdout).toMatch(/^CPU 0 +idle in stop_this_cpu\+0x6b\/0xb0 \(offline\)$/m);
    expect(stdout).toMatch(/^host name +guest-panic$/m);
  });

  it("is told in short by the library", async () => {
    const guest = await openFixture("panic-6.1");
    const summary = await summarizeLinux(guest);
    expect(summary).toMatchObject({
      panic: "sysrq triggered crash",
      hostName: "guest-panic",
      cpus: 2,
      taint: "",
    });
    await guest.close?.();
  });
});

describe("guestscope log", () => {
  it("prints what makedumpfile prints", () => {
    const { status, stdout } = runCli(["log", PANIC]);
    expect(status).toBe(0);
    expect(stdout).toBe(gunzipText(fixturePath("panic-6.1.dmesg.txt.gz")));
  });

  it("--level and --since choose", () => {
    const { records } = json("log", "--json", "--level", "err+", "--since", "5", PANIC) as {
      records: { level: number; time: number }[];
    };
    expect(records.length).toBeGreaterThan(0);
    for (const { level, time } of records) {
      expect(level).toBeLessThanOrEqual(3);
      expect(time).toBeGreaterThanOrEqual(5e9);
    }
    const { status, stderr } = runCli(["log", "--level", "loud", PANIC]);
    expect(status).toBe(2);
    expect(stderr).toContain("levels are emerg");
  });
});

describe("guestscope bt", () => {
  it("shows what each CPU was running when nothing is asked for", () => {
    const { tasks } = json("bt", "--json", PANIC) as {
      tasks: { comm: string; frames: { pc: string; symbol?: string }[] }[];
    };
    expect(tasks.map(({ comm }) => comm)).toEqual(["swapper/0", "init"]);
    expect(tasks[1]?.frames[1]?.symbol).toMatch(/^panic\+0x/);
  });

  it("refuses a PID that no task has", () => {
    const { status, stderr } = runCli(["bt", PANIC, "99999"]);
    expect(status).toBe(2);
    expect(stderr).toContain("no task has PID 99999");
  });
});

describe("the tree of tasks", () => {
  it("ends when tasks are each other's parents, and shows all", () => {
    const rows = [
      { pid: 1, tgid: 1, ppid: 2 },
      { pid: 2, tgid: 2, ppid: 1 },
      { pid: 3, tgid: 3, ppid: 3 },
      { pid: 4, tgid: 3, ppid: 9 },
    ];
    expect(inTree(rows).map(({ row, prefix }) => `${prefix}${row.pid}`)).toEqual(["3", "`-4", "1", "`-2"]);
  });

  it("of a chain of a hundred thousand tasks takes no time", () => {
    const rows = Array.from({ length: 100_000 }, (_, i) => ({ pid: i + 1, tgid: i + 1, ppid: i }));
    expect(inTree(rows).length).toBe(rows.length);
  });
});
