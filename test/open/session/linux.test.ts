import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openFile } from "../../../src/io/node/files.js";
import { sourceInput } from "../../../src/open/session/input.js";
import type { Method, Methods } from "../../../src/open/session/protocol.js";
import { Session } from "../../../src/open/session/session.js";
import { readTruth, type Truth } from "../../linux/fixture.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");

describe.skipIf(noData)("a session about a Linux guest", () => {
  const place = scratch();
  let session: Session;
  let truth: Truth;
  const call = <M extends Method>(
    method: M,
    argument: Methods[M]["argument"],
  ): Promise<Methods[M]["result"]> =>
    session.call(method, argument, { progress: () => undefined, piece: async () => undefined });

  beforeAll(() => {
    const save = unzstd(path.join(sharedData, "xen-v3/hvmlinux.save.zst"), place.folder);
    session = new Session(() => sourceInput(openFile(save)));
    truth = readTruth(path.join(sharedData, "xen-v3/hvmlinux.tasks.json.gz"));
  }, 120_000);
  afterAll(async () => {
    await call("close", undefined);
    place.cleanup();
  });

  it("shows structures as drgn read them, and where their pointers lead", async () => {
    expect(truth.tasks.length).toBeGreaterThan(10);
    for (const { task, pid, comm } of truth.tasks) {
      const { rows, name } = await call("linuxStructure", { name: "task_struct", at: `0x${task}` });
      expect(name).toBe("struct task_struct");
      const value = (member: string): string | undefined =>
        rows.find((row) => row.depth === 0 && row.name === member)?.value;
      expect(value("comm")).toBe(comm);
      expect(Number.parseInt(value("pid") ?? "", 10)).toBe(pid);
      const parent = rows.find((row) => row.depth === 0 && row.name === "real_parent");
      expect(parent?.target).toBe("task_struct");
      const led = await call("linuxStructure", {
        name: parent?.target ?? "",
        at: `0x${(parent?.pointer ?? 0n).toString(16)}`,
      });
      expect(led.address).toBe(parent?.pointer);
    }
  });

  it("finds a structure by a symbol, and tells what it doesn't know", async () => {
    const address = await call("linuxAddress", { name: "init_task" });
    const shown = await call("linuxStructure", { name: "struct task_struct", at: "init_task" });
    expect(shown.address).toBe(address);
    expect(shown.rows.find(({ name }) => name === "comm")?.value).toBe("swapper/0");
    const layout = await call("linuxStructure", { name: "list_head" });
    expect(layout.rows.map(({ name, offset, value }) => [name, offset, value])).toEqual([
      ["next", 0, undefined],
      ["prev", 8, undefined],
    ]);
    await expect(call("linuxStructure", { name: "no_such_thing" })).rejects.toThrow(/no_such_thing/);
    await expect(call("linuxStructure", { name: "pid", at: "no_such_symbol" })).rejects.toThrow(
      /no_such_symbol/,
    );
    expect(await call("linuxAddress", { name: "no_such_symbol" })).toBeUndefined();
  });

  it("names addresses by the symbols that they lie in", async () => {
    const address = (await call("linuxAddress", { name: "init_task" })) ?? 0n;
    expect(await call("linuxSymbols", { addresses: [address, address + 8n, 0n, 0x1000n] })).toEqual([
      "init_task",
      expect.stringMatching(/^init_task\+0x8\//),
      "",
      "",
    ]);
  });

  it("reads the kernel's memory as the processors do, and that of its processes", async () => {
    const address = (await call("linuxAddress", { name: "linux_banner" })) ?? 0n;
    const kernel = await call("read", { space: "kernel", address, length: 64 });
    expect(new TextDecoder().decode(kernel.bytes)).toMatch(/^Linux version /);
    expect(await call("read", { space: "vcpu:0", address, length: 64 })).toEqual(kernel);
    const task = truth.tasks.find(({ pid }) => pid === 1);
    const mappings = await call("linuxMappings", { task: BigInt(`0x${task?.task ?? ""}`) });
    const program = mappings.find(({ file }) => file === "/bin/busybox");
    const start = program?.start ?? 0n;
    const head = await call("read", { space: "pid:1", address: start, length: 4 });
    expect(Array.from(head.bytes)).toEqual([0x7f, 0x45, 0x4c, 0x46]);
    const nothing = await call("read", { space: "pid:1", address: 0x10n, length: 16 });
    expect(nothing.runs.map(({ state }) => state)).toEqual(["unmapped"]);
    await expect(call("read", { space: "pid:99999", address: 0n, length: 1 })).rejects.toThrow(/99999/);
  });

  it("lists mounts and interfaces", async () => {
    const mounts = await call("linuxMounts", undefined);
    expect(mounts.map(({ target }) => target)).toEqual(
      expect.arrayContaining(["/", "/proc", "/sys", "/dev"]),
    );
    const { interfaces } = await call("linuxNetwork", undefined);
    expect(interfaces.map(({ name }) => name)).toContain("lo");
  });
});
