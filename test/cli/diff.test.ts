import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../src/io/byte-source.js";
import { openGuest } from "../../src/open/open.js";
import { SAVE_MAGIC, SAVE_TYPE, saveDescriptor } from "../../src/xen/hvm-context/layout.js";
import { fixtures, gunzipText, runCli, scratch } from "../shared.js";

const place = scratch();
afterAll(place.cleanup);

const write = (name: string, bytes: Uint8Array): string => {
  const file = path.join(place.folder, name);
  fs.writeFileSync(file, bytes);
  return file;
};

interface Document {
  readonly same: boolean;
  readonly facts: readonly unknown[];
  readonly memory: { readonly compared: number; readonly changedPages: number };
  readonly registers: readonly unknown[];
  readonly devices: readonly { readonly name: string; readonly first?: string; readonly second?: string }[];
  readonly linux?: Record<string, unknown>;
}

function diff(first: string, second: string): Document {
  const { status, stdout, stderr } = runCli(["diff", "--json", first, second]);
  expect(status, stderr).toBe(1);
  return JSON.parse(stdout) as Document;
}

const unpacked = (name: string): Buffer =>
  execFileSync("xz", ["-dkc", path.join(fixtures, "linux", `${name}.elf.xz`)], { maxBuffer: 1 << 30 });

describe("diff of a Linux guest whose mount is another one", { timeout: 60_000 }, () => {
  const bytes = unpacked("panic-6.1");
  const first = write("first.elf", bytes);
  const [from, to] = ["guest-tmp", "guest-new"];
  const later = Buffer.from(bytes);
  for (let at = later.indexOf(from); at >= 0; at = later.indexOf(from, at)) later.write(to, at);
  const second = write("second.elf", later);
  // the guest itself said what it had mounted
  const report = gunzipText(path.join(fixtures, "linux/panic-6.1.report.txt.gz"));
  const [, target = "", type = "", access = ""] =
    new RegExp(`^${from} (\\S+) (\\S+) (r[ow])`, "m").exec(report) ?? [];

  it("names the mount that is gone and the one that is new, and nothing else of Linux", () => {
    expect(target).toBe("/tmp");
    expect(diff(first, second).linux).toEqual({
      tasksBegun: [],
      tasksEnded: [],
      modulesLoaded: [],
      modulesRemoved: [],
      mountsAdded: [`${type} ${to} on ${target} (${access})`],
      mountsRemoved: [`${type} ${from} on ${target} (${access})`],
      logNew: [],
      logGone: 0,
      notCompared: [],
    });
  });

  it("prints both for people", () => {
    const { stdout } = runCli(["diff", first, second]);
    expect(stdout).toContain(`mounted:\n  ${type} ${to} on ${target} (${access})\n`);
    expect(stdout).toContain(`unmounted:\n  ${type} ${from} on ${target} (${access})\n`);
  });
});

describe("diff of two Xen saves", () => {
  const stream = zlib.gunzipSync(fs.readFileSync(path.join(fixtures, "xen-legacy/hvm64-xsmall.legacy.gz")));

  /** Offsets of the bodies of the records of the HVM context, by type and instance. */
  function bodies(): Map<string, number> {
    const magic = Buffer.alloc(4);
    magic.writeUInt32LE(SAVE_MAGIC);
    const found = new Map<string, number>();
    for (let at = stream.indexOf(magic) - saveDescriptor.size; ; ) {
      const head = stream.subarray(at, at + saveDescriptor.size);
      const { typecode, instance, length } = saveDescriptor.decode(head, "little");
      if (typecode === SAVE_TYPE.END) return found;
      found.set(`${typecode}/${instance}`, at + saveDescriptor.size);
      at += saveDescriptor.size + length;
    }
  }

  // typecodes of Xen's public/arch-x86/hvm/save.h
  it.each([
    ["PIC", "3/0", "machine.hvm_pic"],
    ["the second PIC", "3/1", "machine.hvm_pic1"],
    ["IOAPIC", "4/0", "machine.hvm_ioapic"],
    ["LAPIC", "5/0", "vcpu0.lapic"],
    ["PIT", "10/0", "machine.hvm_pit"],
    ["HPET", "12/0", "machine.hvm_hpet"],
    ["PMTIMER", "13/0", "machine.hvm_pmtimer"],
  ])("names %s of the HVM context, and only that", (_name, record, name) => {
    const at = bodies().get(record) ?? 0;
    expect(at, "this guest has such a record").toBeGreaterThan(0);
    const other = Buffer.from(stream);
    // beyond the local APIC's base, which is a register too
    const changed = at + (record === "5/0" ? 8 : 0);
    other[changed] = (other[changed] ?? 0) ^ 1;
    const { same, facts, memory, registers, devices } = diff(write("a", stream), write("b", other));
    expect([same, facts, memory.changedPages, registers]).toEqual([false, [], 0, []]);
    expect(devices.map((device) => device.name)).toEqual([name]);
    const [device] = devices;
    expect(device?.first?.length).toBe(device?.second?.length);
    expect(device?.first).not.toBe(device?.second);
  });
});

describe("diff of a guest and a dump of it that doesn't say its architecture", { timeout: 60_000 }, () => {
  it("isn't a difference: registers are", async () => {
    const elf = write("arm.elf", unpacked("arm64-6.12"));
    const lime = path.join(place.folder, "arm.lime");
    expect(runCli(["extract", "-q", "--to", "lime", elf, lime]).status).toBe(0);
    const guest = await openGuest(bytesSource(fs.readFileSync(elf)));
    const { facts, memory, registers } = diff(elf, lime);
    expect(facts).toEqual([]);
    expect([memory.changedPages, registers.length]).toEqual([0, guest.vcpus.length]);
    expect(memory.compared).toBeGreaterThan(0);
  });
});
