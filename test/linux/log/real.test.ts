import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { FileSource } from "../../../src/io/node/index.js";
import { formatLogRecord, type LogStyle } from "../../../src/linux/log/format.js";
import { logSourceOf } from "../../../src/linux/log/kernel-log.js";
import { readLog } from "../../../src/linux/log/read.js";
import type { LogRecord } from "../../../src/linux/log/record.js";
import { openGuest } from "../../../src/open/index.js";
import { gunzipText, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
let place: ReturnType<typeof scratch>;

beforeAll(() => {
  place = scratch();
});
afterAll(() => place.cleanup());

async function logOf(packed: string): Promise<{ records: LogRecord[]; remarks: string[] }> {
  const file = unzstd(path.join(sharedData, packed), place.folder);
  const source = new FileSource(fs.openSync(file, "r"), file);
  let guest: GuestImage | undefined;
  try {
    guest = await openGuest(source);
    const records: LogRecord[] = [];
    const remarks: string[] = [];
    for await (const record of readLog(await logSourceOf(guest), (rule, message) => {
      remarks.push(`${rule.code}: ${message}`);
    }))
      records.push(record);
    return { records, remarks };
  } finally {
    await guest?.close?.();
    source.close();
    fs.rmSync(file);
  }
}

const printed = (records: readonly LogRecord[], style: LogStyle = {}): string[] =>
  records.flatMap((record) => formatLogRecord(record, style)?.split("\n") ?? []);

const lines = (file: string): string[] => gunzipText(path.join(sharedData, file)).trimEnd().split("\n");

describe.skipIf(noData)("kernel logs of real guests", () => {
  it.each([
    ["Linux 6.1", "xen-v3/hvmlinux.save.zst", "xen-v3/hvmlinux.dmesg.txt.gz"],
    ["Linux 6.12, PV", "xen420/pvl.save.zst", "xen420/pvl.dmesg.txt.gz"],
    ["Linux 7.2, five levels", "qemu11/linux-q35-la57/stream.qevm.zst", "qemu11/linux-q35-la57/dmesg.txt.gz"],
  ])("%s: every line is makedumpfile's", async (_, packed, truth) => {
    const { records, remarks } = await logOf(packed);
    expect(printed(records)).toEqual(lines(truth));
    expect(remarks).toEqual([]);
    expect(records.map(({ seq }) => seq)).toEqual(records.map((_, i) => BigInt(i)));
  });

  it("callers, tasks, levels, facilities and devices are the guest's", async () => {
    const { records } = await logOf("qemu11/linux-q35-la57/stream.qevm.zst");
    expect(records.find(({ text }) => text === "QLAB11 kernel log mark")).toMatchObject({
      facility: 1,
      caller: { kind: "task", id: 1 },
      comm: "init",
    });
    expect(records[0]).toMatchObject({ facility: 0, level: 5, comm: "swapper" });
    const device = records.find(({ device }) => device?.subsystem === "pci")?.device?.device;
    expect(device).toMatch(/^\+pci:[0-9a-f]{4}:/);
    expect(records.some(({ caller }) => caller?.kind === "cpu")).toBe(true);
  });

  it("a small kernel's log is its console's, but for levels the console leaves out", async () => {
    const { records } = await logOf("kdump/linux.elf.zst");
    const console = fs.readFileSync(path.join(sharedData, "kdump/linux.console.txt"), "latin1");
    const written = console.replaceAll("\r", "").split("\n");
    const shown = records.filter(({ level = 0 }) => level < 7).flatMap(({ text }) => text.split("\n"));
    expect(shown.length).toBeGreaterThan(150);
    expect(written.slice(0, shown.length)).toEqual(shown);
  });

  it("a filtered kdump has the same log as the whole memory", async () => {
    const whole = await logOf("kdump/linux.elf.zst");
    const filtered = await logOf("kdump/linux.zlib-d31.kdump.zst");
    expect(filtered).toEqual(whole);
  });
});
