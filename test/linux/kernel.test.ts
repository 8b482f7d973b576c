import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AbsentError, FormatError } from "../../src/findings/errors.js";
import { openKernel } from "../../src/linux/kernel.js";
import { symbolEntry } from "../../src/linux/kernel-tables.js";
import { listTasks } from "../../src/linux/tasks.js";
import { systemOf } from "../../src/linux/system.js";
import { changed, described, GUESTS, openFixture } from "./fixture.js";
import { rounds } from "../shared.js";

describe.each(GUESTS)("kernel of %s", (name) => {
  it("has the symbols that VMCOREINFO names, at its addresses", async () => {
    const guest = await openFixture(name);
    const kernel = await openKernel(guest);
    const names = [...kernel.info.keys()]
      .flatMap((key) => /^SYMBOL\((\w+)\)$/.exec(key)?.slice(1) ?? [])
      // the value of that pointer, where it is one
      .filter((symbol) => symbol !== "mem_section");
    const known = names.filter((symbol) => kernel.symbols?.address(symbol) !== undefined);
    expect(known.length).toBeGreaterThan(7);
    expect(known.map((symbol) => kernel.symbols?.address(symbol))).toEqual(
      known.map((symbol) => symbolEntry(kernel.info, symbol)),
    );
    await guest.close?.();
  });

  it("reads variables by name and members by path", async () => {
    const guest = await openFixture(name);
    const kernel = await openKernel(guest);
    const init = await kernel.object("init_task");
    expect(init.text("comm")).toBe("swapper/0");
    expect(init.number("pid")).toBe(0);
    expect(init.pointer("real_parent")).toBe(kernel.symbol("init_task"));
    expect(() => init.number("no_such_member")).toThrow(AbsentError);
    expect(init.has("thread_info.flags")).toBe(true);
    await guest.close?.();
  });

  it("tells what the system was", async () => {
    const guest = await openFixture(name);
    const kernel = await openKernel(guest);
    const system = await systemOf(kernel);
    expect(system.missing).toEqual({});
    expect(system.banner).toContain(`Linux version ${kernel.release}`);
    expect(system.version).toMatch(/^#1 SMP/);
    expect(system.cpus.map(({ vcpu }) => vcpu)).toEqual(guest.vcpus.map(({ id }) => id));
    expect(system.memory?.free).toBeLessThan(system.memory?.total ?? 0);
    // booted in the months these guests were made in
    expect(new Date((system.clock?.wall ?? 0) / 1e6).getUTCFullYear()).toBe(2026);
    expect(system.clock?.hz).toBe(250);
    await guest.close?.();
  });
});

describe("a kernel without", () => {
  it("VMCOREINFO is refused with a sentence", async () => {
    const guest = await openFixture("hvmlinux-6.1");
    const { vmcoreInfo: _, ...facts } = guest.facts;
    const bare = { ...changed(guest, (__, bytes) => bytes.fill(0)), facts };
    await expect(openKernel(bare)).rejects.toMatchObject({ code: "linux/vmcoreinfo/absent" });
    await guest.close?.();
  });

  it("kallsyms opens and says why its symbols are missing", async () => {
    const guest = await openFixture("hvmlinux-6.1");
    const kernel = await openKernel(described(guest, (text) => text.replaceAll(/^.*kallsyms.*\n/gm, "")));
    expect(kernel.symbols).toBeUndefined();
    expect(() => kernel.needSymbol("init_task")).toThrow(/VMCOREINFO does not name kallsyms/);
    // VMCOREINFO alone still tells these
    const system = await systemOf(kernel);
    expect(system.hostName).toBe("(none)");
    expect(system.release).toBe("6.1.0-56-cloud-amd64");
    expect(system.missing.memory).toMatch(/kallsyms|counters/);
    await guest.close?.();
  });
});

describe("VMCOREINFO that lies", () => {
  it("ends in a sentence or an answer, soon", async () => {
    const guest = await openFixture("hvmlinux-6.1");
    const lines = guest.facts.vmcoreInfo?.text.split("\n") ?? [];
    const lying = fc.tuple(
      fc.integer({ min: 0, max: lines.length - 1 }),
      fc.oneof(
        fc.constant("ffffffffffffffff"),
        fc.constant("0"),
        fc.constant("-9223372036854775808"),
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map((value) => value.toString(16)),
        fc
          .bigInt({ min: 0xffff_ffff_9200_0000n, max: 0xffff_ffff_9400_0000n })
          .map((value) => value.toString(16)),
      ),
    );
    await fc.assert(
      fc.asyncProperty(lying, async ([index, value]) => {
        const began = performance.now();
        const edit = (): string =>
          lines.map((line, i) => (i === index ? line.replace(/=.*/, `=${value}`) : line)).join("\n");
        try {
          const kernel = await openKernel(described(guest, edit));
          let count = 0;
          for await (const _ of listTasks(kernel, { threads: true })) count += 1;
          expect(count).toBeLessThan(1000);
        } catch (error) {
          expect(error instanceof AbsentError || error instanceof FormatError).toBe(true);
        }
        expect(performance.now() - began).toBeLessThan(5000);
      }),
      { numRuns: rounds(12) },
    );
    await guest.close?.();
  }, 120_000);
});

describe("damaged memory", () => {
  it("ends in a sentence or an answer, soon", async () => {
    const guest = await openFixture("panic-6.1");
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 0x7fff_ffff }),
        fc.integer({ min: 6, max: 14 }),
        async (seed, rate) => {
          const began = performance.now();
          const bad = changed(guest, (gpa, bytes) => {
            for (let i = 0; i < bytes.length; i += 1) {
              // the same byte of memory is damaged whenever it is read
              const noise =
                Math.imul(Math.imul(gpa + i + seed, 0x9e37_79b1) ^ ((gpa + i) >>> 15), 0x85eb_ca6b) >>> 0;
              if (noise >>> (32 - rate) === 0) bytes[i] = noise & 0xff;
            }
          });
          try {
            const kernel = await openKernel(bad);
            await systemOf(kernel);
            let count = 0;
            for await (const _ of listTasks(kernel, { threads: true, idle: true })) count += 1;
            expect(count).toBeLessThan(10_000);
          } catch (error) {
            expect(error).toSatisfy((e) => e instanceof AbsentError || e instanceof FormatError);
          }
          expect(performance.now() - began).toBeLessThan(10_000);
        },
      ),
      { numRuns: rounds(8) },
    );
    await guest.close?.();
  }, 240_000);
});
