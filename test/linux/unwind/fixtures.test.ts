import { describe, expect, it } from "vitest";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { openKernel } from "../../../src/linux/kernel.js";
import { printPlace } from "../../../src/linux/symbols.js";
import { listTasks, type Task } from "../../../src/linux/tasks.js";
import { Unwinder } from "../../../src/linux/unwind/backtrace.js";
import type { Backtrace } from "../../../src/linux/unwind/frame.js";
import { stackStart } from "../../../src/linux/unwind/task-stack.js";
import { fixturePath, GUESTS, openFixture, readTruth, type TruthTask } from "../fixture.js";

interface TruthStack extends TruthTask {
  readonly stack: readonly { readonly pc: string; readonly symbol?: string }[];
}

type Traced = Backtrace & { readonly task: Task };

async function stacksOf(name: string): Promise<{ stacks: Traced[]; arch: string }> {
  const guest = await openFixture(name);
  try {
    const kernel = await openKernel(guest);
    const unwinder = new Unwinder(kernel);
    const stacks: Traced[] = [];
    for await (const task of listTasks(kernel, { threads: true, idle: true }))
      stacks.push({ task, ...(await unwinder.backtrace(await stackStart(kernel, task))) });
    return { stacks, arch: guest.arch.name };
  } finally {
    await guest.close?.();
  }
}

/** What drgn said, by address of the task; idle tasks too where it was asked for them. */
function truthOf(name: string): ReadonlyMap<string, TruthStack> {
  const { tasks, idle = [] } = readTruth(fixturePath(`${name}.tasks.json.gz`)) as {
    tasks: readonly TruthStack[];
    idle?: readonly TruthStack[];
  };
  return new Map([...tasks, ...idle].map((task) => [task.task, task]));
}

/** Names that kallsyms has and the ELF file, at the same place, has not. */
const NEARER = /^(entry_SYSCALL_64|secondary_startup_64)\+/;

describe("kernel stacks of guests cut down", () => {
  it.each(GUESTS)("%s: every frame of every task and thread is drgn's", async (name) => {
    const { stacks, arch } = await stacksOf(name);
    const truth = truthOf(name);
    let compared = 0;
    for (const { task, frames, ended } of stacks) {
      const known = truth.get(task.address.toString(16))?.stack;
      if (known === undefined) {
        expect(task.idle).toBe(true);
        continue;
      }
      expect(ended).toBeUndefined();
      // drgn ends stacks of aarch64 before user mode
      const shown = arch === "aarch64" ? frames.filter(({ mode }) => mode === "kernel") : frames;
      expect({ pid: task.pid, pcs: shown.map(({ pc }) => pc.toString(16)) }).toEqual({
        pid: task.pid,
        pcs: known.map(({ pc }) => pc),
      });
      for (const [i, { place }] of shown.entries()) {
        const symbol = known[i]?.symbol;
        if (symbol === undefined) expect(place).toBeUndefined();
        else if (!NEARER.test(symbol))
          expect(place === undefined ? "" : printPlace(place).replace(/\/.*/, "")).toBe(
            symbol.replace(/\/.*/, ""),
          );
      }
      compared += frames.length;
    }
    expect(compared).toBeGreaterThan(300);
  });

  it("aarch64: user mode follows the last frame, with the registers it entered with", async () => {
    const { stacks } = await stacksOf("arm64-6.12");
    const init = stacks.find(({ task }) => task.pid === 1);
    const last = init?.frames.at(-1);
    expect(last?.mode).toBe("user");
    expect(last?.registers?.pc).toBe(last?.pc);
    expect((last?.registers?.pstate ?? 1n) & 0xfn).toBe(0n);
    // clock_nanosleep
    expect(last?.registers?.x8).toBe(115n);
    for (const { task, frames } of stacks.filter(({ task }) => task.kthread))
      expect([task.comm, frames.every(({ mode }) => mode === "kernel")]).toEqual([task.comm, true]);
  });

  it("code of modules has the module's name", async () => {
    const { stacks } = await stacksOf("arm64-6.12");
    const modules = stacks.flatMap(({ frames }) => frames.flatMap(({ place }) => place?.module ?? []));
    expect(new Set(modules)).toContain("tun");
  });

  it("a panic: the CPU that panicked, and the one it stopped, offline, in an interrupt on top of idle", async () => {
    const { stacks } = await stacksOf("panic-6.1");
    const running = stacks.filter(({ frames }) => frames[0]?.cause === "vcpu");
    const names = running.map(({ frames }) => frames.map(({ place }) => place?.name ?? "user"));
    const [stopped = [], panicked = []] = names;
    expect(panicked.slice(0, 3)).toEqual(["delay_tsc", "panic", "sysrq_handle_crash"]);
    expect(panicked.at(-1)).toBe("user");
    expect(stopped.slice(0, 5)).toEqual([
      "stop_this_cpu",
      "__sysvec_reboot",
      "sysvec_reboot",
      "asm_sysvec_reboot",
      "native_safe_halt",
    ]);
    const frames = running[0]?.frames ?? [];
    expect(frames.slice(0, 5).map(({ stack }) => stack)).toEqual(["irq", "irq", "irq", "task", "task"]);
    expect(frames[4]).toMatchObject({ cause: "saved", registers: { rip: frames[4]?.pc, cs: 0x10n } });
  });

  it("with words of the kernel's memory changed, end with a sentence, soon", async () => {
    const guest = await openFixture("arm64-6.12");
    try {
      for (let seed = 1; seed <= 6; seed += 1) {
        let state = seed;
        const random = (below: number): number => {
          state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
          return (state >>> 8) % below;
        };
        const kernel = await openKernel(guest);
        const real = kernel.space.read.bind(kernel.space);
        kernel.space.read = (va, into) => {
          const n = real(va, into);
          if (n instanceof Promise || into.length < 8 || random(40) !== 0) return n;
          const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
          const at = random(into.length / 8) * 8;
          const value = random(2) === 0 ? va : view.getBigUint64(at, true) ^ (1n << BigInt(random(48)));
          view.setBigUint64(at, value, true);
          return n;
        };
        const began = performance.now();
        const unwinder = new Unwinder(kernel);
        let count = 0;
        try {
          for await (const task of listTasks(kernel, { threads: true })) {
            const { frames } = await unwinder.backtrace(await stackStart(kernel, task));
            expect(frames.length).toBeLessThanOrEqual(1024);
            count += 1;
          }
        } catch (error) {
          expect(error).toBeInstanceOf(GuestscopeError);
        }
        expect(count).toBeLessThan(10_000);
        expect(performance.now() - began).toBeLessThan(10_000);
      }
    } finally {
      await guest.close?.();
    }
  });
});
