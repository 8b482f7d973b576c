import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { extractGuest } from "../../src/guest/extract.js";
import type { GuestImage } from "../../src/guest/image.js";
import type { OpenOptions } from "../../src/guest/options.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { openFile } from "../../src/io/node/files.js";
import { openOutput, SpoolFile } from "../../src/io/node/output.js";
import { blobSource } from "../../src/io/web/index.js";
import { type Kernel, openKernel } from "../../src/linux/kernel.js";
import { formatLogRecord } from "../../src/linux/log/format.js";
import { logSourceOf } from "../../src/linux/log/kernel-log.js";
import { readLog } from "../../src/linux/log/read.js";
import { printPlace } from "../../src/linux/symbols.js";
import { processMemory } from "../../src/linux/process.js";
import { systemOf } from "../../src/linux/system.js";
import { listTasks } from "../../src/linux/tasks.js";
import { Unwinder } from "../../src/linux/unwind/backtrace.js";
import { stackStart } from "../../src/linux/unwind/task-stack.js";
import { openGuest } from "../../src/open/open.js";
import { OUTPUTS } from "../../src/open/outputs.js";
import { openRawGuest } from "../../src/vmcore/raw/guest.js";
import { saveHeader } from "../../src/qemu/libvirt/layout.js";
import { compileMimic, runMimic } from "../qemu/core/mimic.js";
import { collect, pcDevices } from "../qemu/migration/qevm-writer.js";
import { hasProgram, hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../shared.js";
import { openFixture } from "./fixture.js";

const PAGE = 4096;
/** RAM of the guest, bytes. */
const RAM = 192 << 20;
const { folder, cleanup } = scratch();
afterAll(cleanup);

/** What a guest says of itself: its log, its tasks with their stacks, its system. */
interface Answers {
  readonly log: string;
  readonly tasks: readonly Record<string, unknown>[];
  readonly stacks: Readonly<Record<string, readonly string[]>>;
  readonly system: Record<string, unknown>;
}

/** Processors are left out: not every format has them. */
async function answers(guest: GuestImage): Promise<Answers> {
  const kernel = await openKernel(guest);
  const tasks: Record<string, unknown>[] = [];
  const stacks: Record<string, readonly string[]> = {};
  const unwinder = new Unwinder(kernel);
  for await (const task of listTasks(kernel, { threads: true, idle: true })) {
    const { object: _, ...plain } = task;
    tasks.push({ ...plain, ...(await processMemory(kernel, task)) });
    if (task.onCpu) continue;
    const { frames } = await unwinder.backtrace(await stackStart(kernel, task));
    stacks[`${task.pid} ${task.comm}`] = frames.map(({ pc }) => {
      const place = pc >> 63n === 0n ? undefined : kernel.place(pc);
      return place === undefined ? pc.toString(16) : printPlace(place);
    });
  }
  const { cpus: __, ...system } = await systemOf(kernel);
  return { log: await logOf(kernel), tasks, stacks, system };
}

async function logOf({ guest }: Kernel): Promise<string> {
  const lines: string[] = [];
  for await (const record of readLog(await logSourceOf(guest))) lines.push(formatLogRecord(record, {}) ?? "");
  return lines.join("\n");
}

async function answersOf(file: string, options: OpenOptions = {}): Promise<Answers> {
  const open = options.raw === undefined ? openGuest : openRawGuest;
  const guest = await open(openFile(file), { openSpool: () => new SpoolFile(folder), ...options });
  const found = await answers(guest);
  await guest.close?.();
  return found;
}

let expected: Answers;
let ram: Buffer;
/** Where VMCOREINFO is put, which the fixture has in a note alone: a page that nothing else is in. */
const INFO_PLACE = 64 << 10;

beforeAll(async () => {
  const fixture = await openFixture("hvmlinux-6.1");
  expected = await answers(fixture);
  expect(expected.tasks.length).toBeGreaterThan(50);
  expect(expected.log.length).toBeGreaterThan(10_000);
  ram = Buffer.alloc(RAM);
  for (const { start, end } of fixture.memory.ranges())
    if (start < RAM) await fixture.memory.read(start, ram.subarray(start, Math.min(end, RAM)));
  expect(ram.subarray(INFO_PLACE, INFO_PLACE + PAGE).every((byte) => byte === 0)).toBe(true);
  ram.write(fixture.facts.vmcoreInfo?.text ?? "", INFO_PLACE, "latin1");
  const { memory } = await openRawGuest(bytesSource(ram), {});
  const { vmcoreInfo: _, ...facts } = fixture.facts;
  for (const { id, load } of OUTPUTS) {
    const out = openOutput(path.join(folder, id), { force: true });
    await extractGuest({ ...fixture, memory, facts }, await load({}), () => out, {});
    out.commit();
  }
  await fixture.close?.();
}, 60_000);

/** A stream of a pc machine with the guest's RAM. */
const stream = (): Buffer =>
  collect((writer) => {
    writer
      .header()
      .configuration("pc-i440fx-10.0")
      .startRam([{ name: "pc.ram", length: RAM }]);
    writer.ram(true, () => {
      for (let at = 0; at < RAM; at += PAGE) {
        const page = ram.subarray(at, at + PAGE);
        if (page.some((byte) => byte !== 0)) writer.plain("pc.ram", at, page);
        else writer.zero("pc.ram", at);
      }
    });
    pcDevices(writer, RAM, 0);
    writer.end();
  });

const XML = `<domain type='kvm'><name>guest</name><memory unit='KiB'>${RAM / 1024}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc-i440fx-10.0'>hvm</type></os></domain>\0`;

/** A stream as libvirt saves it. */
function libvirtSave(bytes: Uint8Array, compressed: number): Buffer {
  const header = saveHeader.encode(
    {
      magic: "LibvirtQemudSave",
      version: 2,
      dataLength: XML.length,
      wasRunning: 1,
      compressed,
      cookieOffset: 0,
      unused: Array<number>(14).fill(0),
    },
    "little",
  );
  return Buffer.concat([header, Buffer.from(XML), bytes]);
}

describe("one Linux guest, the same answers", () => {
  it.each(OUTPUTS.map(({ id }) => id))("from %s", async (id) => {
    const found = await answersOf(path.join(folder, id), id === "raw" ? { raw: {} } : {});
    expect(found).toEqual(expected);
  });

  it("from a QEMU stream, and from libvirt saves", async () => {
    const bytes = stream();
    const file = path.join(folder, "stream");
    for (const content of [
      bytes,
      libvirtSave(bytes, 0),
      libvirtSave(zlib.gzipSync(bytes, { level: 1 }), 1),
    ]) {
      fs.writeFileSync(file, content);
      expect(await answersOf(file)).toEqual(expected);
    }
  });

  it("from a Blob", async () => {
    const blob = new Blob([fs.readFileSync(path.join(folder, "kdump"))]);
    const guest = await openGuest(blobSource(blob, "guest"));
    expect(await answers(guest)).toEqual(expected);
    await guest.close?.();
  });
});

const noMimic = skipUnless(hasProgram("gcc") && hasProgram("gcore"), "gcc and gcore");

describe.skipIf(noMimic)("a QEMU process with that guest", () => {
  it("gives the same answers, alive and as a core", async () => {
    const exe = compileMimic(
      folder,
      702,
      `RAM_PAGES=${RAM / PAGE}`,
      `RAM_FILE="${path.join(folder, "ram")}"`,
    );
    fs.writeFileSync(path.join(folder, "ram"), ram);
    const { child, pid } = await runMimic(exe);
    const core = path.join(folder, "core");
    try {
      expect(listed(`pid:${pid}`)).toEqual(sameTasks());
      spawnSync("gcore", ["-o", core, String(pid)], { stdio: "ignore" });
    } finally {
      child.kill("SIGKILL");
    }
    expect(listed(`${core}.${pid}`)).toEqual(sameTasks());
  });

  function listed(input: string): unknown[] {
    const { status, stdout, stderr } = runCli(["ps", "--json", "--threads", input]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { tasks } = JSON.parse(stdout) as { tasks: Record<string, unknown>[] };
    return tasks.map(({ pid, comm, cmdline, rss }) => [pid, comm, cmdline, rss]);
  }

  const sameTasks = (): unknown[] =>
    expected.tasks.map(({ pid, comm, commandLine = [], rss }) => [pid, comm, commandLine, rss]);
});

const noData = skipUnless(
  hasShared && hasProgram("zstd") && hasProgram("makedumpfile"),
  "shared data, zstd or makedumpfile",
);

describe.skipIf(noData)("the whole of that guest", () => {
  it("filtered by makedumpfile lacks command lines alone, and says why", async () => {
    const save = unzstd(path.join(sharedData, "xen-v3/hvmlinux.save.zst"), folder);
    const whole = await answersOf(save);
    expect({ ...whole, log: "", system: {} }).toEqual({ ...expected, log: "", system: {} });
    const elf = path.join(folder, "whole.elf");
    expect(runCli(["extract", "-q", save, elf]).status).toBe(0);
    const filtered = path.join(folder, "filtered.kdump");
    execFileSync("makedumpfile", ["-c", "-d", "31", elf, filtered], { stdio: "ignore" });
    const { tasks, ...found } = await answersOf(filtered);
    const { tasks: all, ...others } = whole;
    expect(found).toEqual(others);
    let absent = 0;
    for (const [i, { commandLine, whyNoCommandLine, ...task }] of tasks.entries()) {
      const { commandLine: line, whyNoCommandLine: why, ...like } = all[i] ?? {};
      expect(task).toEqual(like);
      if (whyNoCommandLine === why) expect(commandLine).toEqual(line);
      else {
        expect(whyNoCommandLine).toContain("excluded by dump level 31");
        absent += 1;
      }
    }
    expect(absent).toBeGreaterThan(0);
  });
});
