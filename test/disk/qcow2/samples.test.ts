import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Qcow2Inspection } from "../../../src/disk/qcow2/inspect.js";
import { Report } from "../../../src/findings/report.js";
import { readImage } from "../../../src/disk/qcow2/read.js";
import { chooseSnapshot } from "../../../src/disk/qcow2/snapshots.js";
import { stateSource } from "../../../src/disk/qcow2/state.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { type ByteSource, readFully } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import { inspect, openGuest, verify } from "../../../src/open/open.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { qemuSnapshots } from "./qemu-snapshots.js";

const home = path.join(sharedData, "qemu11");
const names = hasShared ? fs.readdirSync(home).filter((name) => name.startsWith("qcow2-")) : [];
const noSamples = skipUnless(names.length > 0, "shared data of QEMU 11");
const noQemuImg = skipUnless(hasProgram("qemu-img"), "qemu-img");

const { folder, cleanup } = scratch();
afterAll(cleanup);

interface Meta {
  readonly snapshots: readonly {
    readonly name: string;
    readonly vm_state_size: number;
    readonly vmstate_offset: number;
    readonly vmstate_sha256: string;
  }[];
}

const unpack = (name: string, file: string, base?: string): string =>
  unzstd(path.join(home, name, file), folder, {
    name: `${name}.${file.replace(/(\.patch)?\.zst$/, "")}`,
    ...(base === undefined ? {} : { patchFrom: base }),
  });

async function sha256(source: ByteSource): Promise<string> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(1 << 20);
  for (let at = 0; at < source.size; at += buffer.length)
    hash.update(buffer.subarray(0, await readFully(source, at, buffer)));
  return hash.digest("hex");
}

/** Whether `guest` has all the memory of `reference`, with the same contents. */
async function hasSameMemory(guest: GuestImage, reference: GuestImage): Promise<boolean> {
  let same = true;
  for await (const piece of reference.memory.pieces()) {
    const bytes = new Uint8Array(piece.length);
    if ((await guest.memory.read(piece.gpa, bytes)) !== piece.length) same = false;
    else if (piece.bytes === undefined) same &&= bytes.every((byte) => byte === 0);
    else same &&= Buffer.compare(bytes, piece.bytes) === 0;
  }
  return same;
}

describe.skipIf(noSamples)("qcow2 images of QEMU 11", () => {
  it.each(names)("%s: every snapshot's state, memory and registers are the reference's", async (name) => {
    const file = unpack(name, "disk.qcow2.zst");
    const meta = JSON.parse(fs.readFileSync(path.join(home, name, "meta.json"), "utf8")) as Meta;
    const image = await readImage(openFile(file), new Report("disk"));
    expect(image.snapshots.map((snapshot) => snapshot.name)).toEqual(meta.snapshots.map((s) => s.name));
    for (const [i, expected] of meta.snapshots.entries()) {
      const snapshot = chooseSnapshot(image.snapshots, expected.name, file);
      expect(snapshot.stateOffset).toBe(expected.vmstate_offset);
      const state = stateSource(image.source, image.header, snapshot);
      expect(state.size).toBe(expected.vm_state_size);
      expect(await sha256(state)).toBe(expected.vmstate_sha256);

      const guest = await openGuest(openFile(file), { qcow2: { snapshot: snapshot.id } });
      const reference = await openGuest(openFile(unpack(name, `s${i}.ref.vmcore.patch.zst`, file)));
      expect(await hasSameMemory(guest, reference)).toBe(true);
      expect(guest.vcpus.length).toBe(reference.vcpus.length);
      for (const [cpu, { registers }] of reference.vcpus.entries()) {
        const ours = guest.vcpus[cpu]?.registers;
        if (registers?.kind !== "x86" || ours?.kind !== "x86") throw new Error("no x86 registers");
        expect(ours.general).toEqual(registers.general);
      }
    }
  });

  it.each(names)("%s: is valid", async (name) => {
    const { report } = await verify(openFile(unpack(name, "disk.qcow2.zst")));
    expect(report.findings.filter(({ severity }) => severity !== "note")).toEqual([]);
  });

  it.skipIf(noQemuImg).each(names)("%s: lists what qemu-img lists", async (name) => {
    const file = unpack(name, "disk.qcow2.zst");
    const { snapshots } = ((await inspect(openFile(file))) as Qcow2Inspection).details;
    expect(snapshots.length).toBeGreaterThan(0);
    expect(snapshots.map(({ diskSize: _size, ...rest }) => rest)).toEqual(qemuSnapshots(file));
  });

  it("one with a single snapshot shows its state", async () => {
    const file = unpack("qcow2-ext2", "disk.qcow2.zst");
    const found = ((await inspect(openFile(file))) as Qcow2Inspection).details;
    expect(found.snapshot).toBe("snap0");
    expect(found.state).toMatchObject({ kind: "qemu-migration", details: { complete: true } });
  });

  it("a snapshot's list reads the header and the snapshot table alone", async () => {
    const file = openFile(unpack("qcow2-v3", "disk.qcow2.zst"));
    let read = 0;
    const counting: ByteSource = {
      name: file.name,
      size: file.size,
      read: (offset, into) => {
        read += into.length;
        return file.read(offset, into);
      },
    };
    await inspect(counting);
    expect(read).toBeLessThan(150_000);
  });
});

describe.skipIf(skipUnless(hasShared, "shared data"))("a qcow2 image from the field", () => {
  it("savevm.qcow2: its snapshot is opened", async () => {
    const file = unzstd(path.join(sharedData, "field/savevm.qcow2.zst"), folder);
    const guest = await openGuest(openFile(file));
    expect(guest.facts.origin).toMatch(/snapshot 'snap1' of a qcow2 disk image/);
    expect(guest.arch.name).toBe("x86_64");
    const { report } = await verify(openFile(file));
    expect(report.valid).toBe(true);
    if (!noQemuImg) execFileSync("qemu-img", ["check", "-q", file]);
  });
});
