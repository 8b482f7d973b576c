import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { FileSource } from "../../../src/io/node/index.js";
import { type Kernel, openKernel } from "../../../src/linux/kernel.js";
import { printPlace } from "../../../src/linux/symbols.js";
import { listTasks, type Task } from "../../../src/linux/tasks.js";
import { Unwinder } from "../../../src/linux/unwind/backtrace.js";
import type { Backtrace } from "../../../src/linux/unwind/frame.js";
import { runningCpus, stackStart } from "../../../src/linux/unwind/task-stack.js";
import { openGuest } from "../../../src/open/index.js";
import { gunzipText, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
let place: ReturnType<typeof scratch>;

beforeAll(() => {
  place = scratch();
});
afterAll(() => place.cleanup());

/** What drgn said of the same memory with the distribution's debug information. */
interface Truth {
  readonly tasks: readonly {
    readonly pid: number;
    readonly comm: string;
    readonly stack: readonly { readonly pc: string; readonly symbol?: string }[];
  }[];
}

async function withKernel<T>(packed: string, use: (kernel: Kernel) => Promise<T>): Promise<T> {
  const file = unzstd(path.join(sharedData, packed), place.folder);
  const source = new FileSource(fs.openSync(file, "r"), file);
  let guest: GuestImage | undefined;
  try {
    guest = await openGuest(source);
    return await use(await openKernel(guest));
  } finally {
    await guest?.close?.();
    source.close();
  }
}

type Traced = Backtrace & { readonly task: Task };

async function allStacks(kernel: Kernel): Promise<Traced[]> {
  const unwinder = new Unwinder(kernel);
  const stacks: Traced[] = [];
  for await (const task of listTasks(kernel, { threads: true, idle: true }))
    stacks.push({ task, ...(await unwinder.backtrace(await stackStart(kernel, task))) });
  return stacks;
}

/** `schedule+0x5a`: sizes differ where the ELF file has them and kallsyms counts to the next symbol. */
const head = (symbol: string | undefined): string | undefined => symbol?.replace(/\/.*/, "");

const GUESTS: readonly (readonly [string, string, string])[] = [
  ["Linux 6.1", "xen-v3/hvmlinux.save.zst", "xen-v3/hvmlinux.tasks.json.gz"],
  ["Linux 6.12, PV, two CPUs in a stopped machine", "xen420/pvl.save.zst", "xen420/pvl.tasks.json.gz"],
  ["Linux 7.2, five levels", "qemu11/linux-q35-la57/stream.qevm.zst", "qemu11/linux-q35-la57/tasks.json.gz"],
];

describe.skipIf(noData)("kernel stacks of real guests", () => {
  it.each(GUESTS)("%s: every frame of every task is drgn's", async (_, packed, truth) => {
    const { tasks } = JSON.parse(gunzipText(path.join(sharedData, truth))) as Truth;
    await withKernel(packed, async (kernel) => {
      const stacks = await allStacks(kernel);
      expect(stacks.flatMap(({ ended }) => ended ?? [])).toEqual([]);
      const mine = stacks
        .filter(({ task }) => !task.idle)
        .map(({ task: { pid, comm }, frames }) => ({
          pid,
          comm,
          stack: frames.map(({ pc }) => pc.toString(16)),
        }));
      expect(mine).toEqual(
        tasks.map(({ pid, comm, stack }) => ({ pid, comm, stack: stack.map(({ pc }) => pc) })),
      );
      for (const { task, frames } of stacks.filter(({ task }) => !task.idle)) {
        const known = tasks.find(({ pid }) => pid === task.pid)?.stack ?? [];
        for (const [i, { place }] of frames.entries()) {
          const symbol = head(known[i]?.symbol);
          // kallsyms has a nearer name than the ELF file there
          if (symbol?.startsWith("entry_SYSCALL_64+") === true)
            expect(place?.name).toBe("entry_SYSCALL_64_after_hwframe");
          else expect(place === undefined ? undefined : head(printPlace(place))).toBe(symbol);
        }
      }
    });
  });

  it("user mode shows as such, with the registers the system call saved", async () => {
    await withKernel("xen-v3/hvmlinux.save.zst", async (kernel) => {
      const last = (await allStacks(kernel)).find(({ task }) => task.pid === 1)?.frames.at(-1);
      expect(last).toMatchObject({ mode: "user", pc: 0x4bfde3n, cause: "saved" });
      expect(last?.place).toBeUndefined();
      // clock_nanosleep, from the 64-bit code segment of user mode
      expect(last?.registers).toMatchObject({ orig_rax: 230n, cs: 0x33n, ss: 0x2bn, rip: 0x4bfde3n });
    });
  });

  it("a vCPU whose per-CPU base is not in the input is known by the stack that it is on", async () => {
    await withKernel("xen420/pvl.save.zst", async (kernel) => {
      const vcpus = kernel.guest.vcpus.map((vcpu) => {
        const { registers } = vcpu;
        if (registers?.kind !== "x86") throw new Error("an x86 guest is expected");
        const { gs: _gs, ...segments } = registers.segments;
        const { kernel_gs_base: _base, ...msrs } = registers.msrs;
        return { ...vcpu, registers: { ...registers, segments, msrs } };
      });
      // in another order, so that numbers don't tell
      const bare = await openKernel({ ...kernel.guest, vcpus: vcpus.toReversed() });
      const numbers = (cpus: Awaited<ReturnType<typeof runningCpus>>): unknown =>
        cpus.map(({ cpu, vcpu, current }) => [cpu, vcpu?.id, current]);
      expect(numbers(await runningCpus(bare))).toEqual(numbers(await runningCpus(kernel)));
      expect(kernel.guest.vcpus.length).toBe(2);
    });
  });

  it("a task that was running starts from its vCPU, on the stack that is its own", async () => {
    await withKernel("xen420/pvl.save.zst", async (kernel) => {
      const running = (await allStacks(kernel)).filter(({ frames }) => frames[0]?.cause === "vcpu");
      expect(running.map(({ task }) => task.comm)).toEqual(["migration/0", "migration/1"]);
      for (const { frames } of running)
        expect(new Set(frames.map(({ stack }) => stack))).toEqual(new Set(["task"]));
    });
  });
});

describe.skipIf(noData)("kernel stacks in damaged memory", () => {
  it("end with a sentence, whatever the unwind tables and stacks hold", async () => {
    await withKernel("qemu11/linux-q35-la57/stream.qevm.zst", async (kernel) => {
      const start = kernel.needSymbol("__start_orc_unwind_ip");
      const entries = kernel.needSymbol("__start_orc_unwind");
      const tasks: Task[] = [];
      for await (const task of listTasks(kernel)) tasks.push(task);
      // a generator of its own, so that a failure can be had again
      let seed = 1;
      const random = (below: number): number => {
        seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
        return (seed >>> 8) % below;
      };
      const real = kernel.space.read.bind(kernel.space);
      for (let round = 0; round < 12; round += 1) {
        const inTables = round % 2 === 0;
        kernel.space.read = (va, into) => {
          const n = real(va, into);
          const isTable = va >= start && va < entries + 0x40_0000n;
          const isStack = tasks.some(({ stack }) => va >= stack && va < stack + 16384n);
          if (n instanceof Promise || (inTables ? !isTable : !isStack) || random(8) !== 0) return n;
          // words of the stack itself make loops, other values lead anywhere
          const value = random(2) === 0 ? va - BigInt(random(64) * 8) : BigInt(random(2 ** 24)) << 20n;
          const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
          if (into.length >= 8) view.setBigUint64(0, BigInt.asUintN(64, value), true);
          else into[random(into.length)] = random(256);
          return n;
        };
        const began = performance.now();
        const unwinder = new Unwinder(kernel);
        let early = 0;
        for (const task of tasks) {
          const { frames, ended } = await unwinder.backtrace({ task: task.address });
          expect(frames.length).toBeLessThanOrEqual(1024);
          if (ended === undefined) continue;
          early += 1;
          expect(ended.code).toMatch(/^linux\/(stack|memory|type)\//);
          expect(ended.message).toMatch(/0x|registers|frames|unwind/);
        }
        expect(early).toBeGreaterThan(0);
        expect(performance.now() - began).toBeLessThan(10_000);
      }
      kernel.space.read = real;
    });
  });
});
