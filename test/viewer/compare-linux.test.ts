import { describe, expect, it } from "vitest";
import { compareLogs, compareTasks } from "../../viewer/src/compare/linux.js";
import type { TaskRow } from "../../src/open/session/linux-protocol.js";

const task = (pid: number, startTime: number, rest: Partial<TaskRow> = {}): TaskRow => ({
  address: BigInt(pid),
  pid,
  tgid: pid,
  ppid: 1,
  comm: "sh",
  state: "S",
  kthread: false,
  onCpu: false,
  time: 0,
  startTime,
  ...rest,
});

describe("two states of a Linux guest", () => {
  it("tells lines that one log has alone, whatever fell out of its ring", () => {
    const line = (time: number, text: string): { time: number; text: string } => ({ time, text });
    const a = [line(1, "begin"), line(2, "same"), line(3, "same")];
    const b = [line(2, "same"), line(3, "same"), line(4, "same"), line(4, "new")];
    expect(compareLogs(a, b)).toEqual({ onlyA: [a[0]], onlyB: [b[2], b[3]] });
  });

  it("takes a task for another where its number was used again", () => {
    const a = [task(7, 100), task(8, 100, { time: 5 }), task(9, 100)];
    const b = [task(7, 900), task(8, 100, { time: 6 }), task(9, 100)];
    const { started, ended, altered } = compareTasks(a, b);
    expect(started).toEqual([b[0]]);
    expect(ended).toEqual([a[0]]);
    expect(altered).toEqual([{ a: a[1], b: b[1] }]);
  });
});
