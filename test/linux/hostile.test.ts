import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AbsentError, FormatError } from "../../src/findings/errors.js";
import type { GuestImage } from "../../src/guest/image.js";
import { type Kernel, openKernel } from "../../src/linux/kernel.js";
import { symbolEntry } from "../../src/linux/kernel-tables.js";
import { listModules, useModuleSymbols } from "../../src/linux/modules.js";
import { processMemory } from "../../src/linux/process.js";
import { systemOf } from "../../src/linux/system.js";
import { listTasks } from "../../src/linux/tasks.js";
import { Unwinder } from "../../src/linux/unwind/backtrace.js";
import { stackStart } from "../../src/linux/unwind/task-stack.js";
import { changed, described, openFixture, poked } from "./fixture.js";

/** Processor time and memory that one answer may take, whatever the guest's memory holds. */
const MOST_MS = 1000;
const MOST_BYTES = 150 << 20;

/** Asks for everything. Returns what was said: an error's sentence, what is missing, troubles on the way. */
async function ask(guest: GuestImage): Promise<{ readonly said: string; readonly tasks: number }> {
  let tasks = 0;
  try {
    const kernel = await openKernel(guest);
    await useModuleSymbols(kernel);
    const unwinder = new Unwinder(kernel);
    for await (const task of listTasks(kernel, { threads: true, idle: true })) {
      tasks += 1;
      await processMemory(kernel, task);
      await unwinder.backtrace(await stackStart(kernel, task));
    }
    const { missing } = await systemOf(kernel);
    return { said: said(kernel, Object.values(missing)), tasks };
  } catch (error) {
    if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
    return { said: error.message, tasks };
  }
}

const said = (kernel: Kernel, missing: readonly string[]): string =>
  [...missing, ...kernel.troubles.map(({ message }) => message)].join("\n");

/** As `ask`, within the limits. */
async function askSoon(guest: GuestImage): ReturnType<typeof ask> {
  const before = process.memoryUsage.rss();
  const start = process.cpuUsage();
  const answer = await ask(guest);
  const { user, system } = process.cpuUsage(start);
  expect((user + system) / 1000).toBeLessThan(MOST_MS);
  expect(process.memoryUsage.rss() - before).toBeLessThan(MOST_BYTES);
  return answer;
}

describe("hostile memory", () => {
  let guest: GuestImage;
  let modular: GuestImage;
  let kernel: Kernel;
  let root = 0;
  let all = 0;

  beforeAll(async () => {
    guest = await openFixture("hvmlinux-6.1");
    modular = await openFixture("panic-6.1");
    kernel = await openKernel(guest);
    root = (await placeOf("swapper_pg_dir")) ?? -1;
    // compiled and warm
    for (let i = 0; i < 3; i += 1) all = (await ask(guest)).tasks;
    await ask(modular);
  });
  afterAll(async () => {
    await guest.close?.();
    await modular.close?.();
  });

  const placeOf = async (name: string): Promise<number | undefined> =>
    kernel.space.translate(symbolEntry(kernel.info, name) ?? kernel.needSymbol(name));

  /** The guest whose top page table has `value` in entries `from` to `to`, exclusive. */
  const remapped = (from: number, to: number, value: bigint): GuestImage => {
    const entry = new Uint8Array(new BigUint64Array([value]).buffer);
    const [start, end] = [root + 8 * from, root + 8 * to];
    return changed(guest, (gpa, bytes) => {
      for (let at = Math.max(gpa, start); at < Math.min(gpa + bytes.length, end); at += 1)
        bytes[at - gpa] = entry[at % 8] ?? 0;
    });
  };

  it("is measured against a guest in which nothing is wrong", async () => {
    expect(await askSoon(guest)).toEqual({ said: "", tasks: all });
    expect(all).toBeGreaterThan(50);
  });

  it("page tables that map onto themselves but for the kernel's image", async () => {
    const { said: sentence, tasks } = await askSoon(remapped(256, 511, BigInt(root) | 0x63n));
    expect(sentence).not.toBe("");
    expect(tasks).toBeLessThan(all);
  });

  it("page tables that map onto themselves wholly", async () => {
    const { said: sentence } = await askSoon(remapped(0, 512, BigInt(root) | 0x63n));
    expect(sentence).toMatch(/VMCOREINFO|kallsyms/);
  });

  it("the same memory mapped again and again: a list ends where it comes to the same place by another address", async () => {
    // each task is linked to the next one's alias, 512 GiB further on, which is the same memory
    const direct = Number((kernel.needSymbol("init_task") >> 39n) & 511n);
    expect(direct).toBe(511);
    const addresses: bigint[] = [];
    for await (const task of listTasks(kernel)) addresses.push(task.object.addressOf("tasks"));
    const [first = 0n, second = 0n] = addresses;
    const index = Number((first >> 39n) & 511n);
    const entry = await kernel.pointerAt(kernel.needSymbol("swapper_pg_dir") + BigInt(8 * index));
    let altered = poked(guest, root + 8 * (index + 1), entry);
    const link = await kernel.space.translate(second);
    altered = poked(altered, link ?? -1, first + (1n << 39n));
    const { said: sentence, tasks } = await askSoon(altered);
    expect(sentence).toMatch(/runs in a loop after 2 entries/);
    expect(tasks).toBeLessThan(10);
  });

  it("2^32 symbols", async () => {
    const place = (await placeOf("kallsyms_num_syms")) ?? -1;
    const { said: sentence } = await askSoon(poked(guest, place, 0xffff_ffffn));
    expect(sentence).toMatch(/kallsyms announces 4294967295 symbols/);
  });

  it("BTF of 2^32 bytes, cut, or of another version", async () => {
    const place = (await placeOf("__start_BTF")) ?? -1;
    for (const [offset, value] of [
      [0, 0xffff_ffff_ffff_ffffn],
      [8, 0xffff_ffff_ffff_ffffn],
      [16, 0xffff_ffff_ffff_ffffn],
      [8, 0n],
    ] as const) {
      const { said: sentence } = await askSoon(poked(guest, place + offset, value));
      expect(sentence).toMatch(/BTF|types/);
    }
    const cut = changed(guest, (gpa, bytes) => {
      const from = Math.max(0, place + (1 << 20) - gpa);
      if (gpa + bytes.length > place && gpa < place + (4 << 20)) bytes.fill(0, Math.min(from, bytes.length));
    });
    expect((await askSoon(cut)).said).not.toBe("");
  });

  it("a module with 2^32 symbols", async () => {
    const opened = await openKernel(modular);
    const [module] = await listModules(opened);
    const table = await module?.object.follow("kallsyms");
    const symbols = await opened.space.translate(table?.addressOf("num_symtab") ?? 0n);
    const { said: sentence } = await askSoon(poked(modular, symbols ?? -1, 0xffff_ffffn));
    expect(sentence).toBe("");
  });

  it("VMCOREINFO of another kernel, and with addresses of nothing", async () => {
    const other = await openFixture("la57-7.2");
    const text = other.facts.vmcoreInfo?.text ?? "";
    await other.close?.();
    expect((await askSoon(described(guest, () => text))).said).toMatch(/disagree|VMCOREINFO/);
    for (const value of ["0", "ffffffffffffffff", "ffff888000000000"]) {
      const lies = described(guest, (is) => is.replaceAll(/^(SYMBOL\(.*\))=.*$/gm, `$1=${value}`));
      expect((await askSoon(lies)).said).not.toBe("");
    }
  });
});
