import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { memoryTotals } from "../../../src/guest/memory.js";
import { type ByteSource, bytesSource, sliceSource, streamOf } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import type { EmulatorInspection } from "../../../src/open/emulators.js";
import { inspect, openGuest, verify } from "../../../src/open/open.js";
import { LIBVIRT_LIBXL_MAGIC, libvirtLibxlHeader } from "../../../src/xen/envelopes/layout.js";
import { EMULATOR_NAMES, libxlEmulatorHeader, LIBXL_RECORD } from "../../../src/xen/libxl/layout.js";
import type { XenStreamDetails } from "../../../src/xen/stream/inspect.js";
import { gunzipText, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { pageSums, truth } from "../guest/model.js";
import { encodeRecord, makeStream } from "./stream-maker.js";

const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");
const { folder, cleanup } = scratch();
afterAll(cleanup);

const save = (name: string): Buffer =>
  fs.readFileSync(unzstd(path.join(sharedData, `xen-v3/${name}.save.zst`), folder));

const detailsOf = async (input: Parameters<typeof inspect>[0]): Promise<XenStreamDetails> =>
  (await inspect(input)).details as XenStreamDetails;

/** A record before the last one, libxl's END. */
function withRecord(stream: Uint8Array, type: number, body: Uint8Array): Uint8Array {
  const end = stream.length - 8;
  return Buffer.concat([
    stream.subarray(0, end),
    encodeRecord({ type, body }, "little"),
    stream.subarray(end),
  ]);
}

describe.skipIf(skip)("emulator records", () => {
  const emulator = libxlEmulatorHeader.encode({ emulatorId: 2, index: 0 }, "little");
  const xenstore = Buffer.concat([emulator, Buffer.from("physmap/0/size\x001000\0")]);
  const context = Buffer.concat([emulator, Buffer.from("QEVM\0\0\0\x03 state")]);
  const codesOf = async (bytes: Uint8Array): Promise<string[]> =>
    (await verify(bytesSource(bytes))).report.findings
      .filter(({ severity }) => severity === "error")
      .map(({ code, message }) => `${code}: ${message}`);

  // what `xl restore` of Xen 4.20 said of the first: Received a xenstore emulator record when none was expected
  it.each([
    ["pv64", "PV"],
    ["pvh64", "PVH"],
  ])("of %s are an error: Xen refuses them", async (name, kind) => {
    const bytes = save(name);
    expect(await codesOf(bytes)).toEqual([]);
    expect(await codesOf(withRecord(bytes, LIBXL_RECORD.EMULATOR_XENSTORE_DATA, xenstore))).toEqual([
      `libxl/emulator/no-emulator: EMULATOR_XENSTORE_DATA of a ${kind} guest`,
    ]);
    expect(await codesOf(withRecord(bytes, LIBXL_RECORD.EMULATOR_CONTEXT, context))).toEqual([
      `libxl/emulator/no-emulator: EMULATOR_CONTEXT of a ${kind} guest`,
    ]);
  });

  it("of an HVM guest are as they should be, and of a PVH guest without configuration an error", async () => {
    expect(await codesOf(withRecord(save("hvm64"), LIBXL_RECORD.EMULATOR_XENSTORE_DATA, xenstore))).toEqual(
      [],
    );
    // the libxl stream after the xl header
    const pvh = save("pvh64").subarray(846);
    expect(await codesOf(pvh)).toEqual([]);
    expect(await codesOf(withRecord(pvh, LIBXL_RECORD.EMULATOR_CONTEXT, context))).toHaveLength(1);
  });
});

describe("inspecting a stream that breaks off", () => {
  it("counts the pages that are there, in a file and in a pipe", async () => {
    const bytes = makeStream({ guest: "hvm", version: 3, layer: "xl", order: "little", pages: 9 });
    const whole = await detailsOf(bytesSource(bytes));
    expect(whole.memory).toMatchObject({ sends: 9, bytes: 9 * 4096 });
    // somewhere in the last page, in the first, and at a border
    const end = bytes.length;
    for (let cut = end; cut > end - 12 * 4096 && cut > 300; cut -= 1777) {
      const part = bytesSource(bytes.subarray(0, cut), "cut");
      const { memory } = await detailsOf(part);
      expect((await detailsOf(streamOf(part))).memory).toEqual(memory);
      const guest = await openGuest(part, { partial: true }).catch(() => undefined);
      if (guest !== undefined) expect([cut, memory.bytes]).toEqual([cut, memoryTotals(guest.memory).present]);
    }
  });

  it.skipIf(skip)("pv64.save", async () => {
    const { details, memory } = await inspect(bytesSource(save("pv64").subarray(0, 6_000_000)));
    const counted = (details as XenStreamDetails).memory;
    expect(counted.bytes).toBe(memory?.present);
    expect(counted.ranges.at(-1)?.end).toBe(memory?.present);
    expect(Object.values(counted.types).reduce((sum, n) => sum + n, 0) * 4096).toBe(memory?.present);
  });
});

it("the HVM context of a big-endian stream is little-endian, as the processor's own data are", async () => {
  const [big, little] = await Promise.all(
    (["big", "little"] as const).map(async (order) => {
      const bytes = makeStream({ guest: "hvm", version: 2, layer: "libxc", order, vcpus: 2 });
      expect((await verify(bytesSource(bytes))).report.verdict).toBe("valid");
      const inspection = await inspect(bytesSource(bytes));
      return { vcpus: (await openGuest(bytesSource(bytes))).vcpus, summaries: inspection.vcpus };
    }),
  );
  expect(big?.vcpus).toHaveLength(2);
  expect(big).toEqual(little);
  const [first] = big?.vcpus ?? [];
  expect(first?.registers?.kind === "x86" && first.registers.general.rip).toBe(0x1000n);
});

describe.skipIf(skip)("a libvirt save of a Xen domain", () => {
  const xml =
    "<domain type='xen' id='3'><name>a &amp; b</name><uuid>4305b6a3-4899-4689-8544-c4188df7d33a</uuid>" +
    "<memory unit='MiB'>64</memory><currentMemory unit='KiB'>16384</currentMemory>" +
    "<vcpu placement='static' current='1'>4</vcpu></domain>\0";

  function wrapped(stream: Uint8Array): ByteSource {
    const unused = Array.from({ length: 10 }, () => 0);
    const fields = { magic: LIBVIRT_LIBXL_MAGIC, version: 2, xmlLength: xml.length, unused };
    const header = libvirtLibxlHeader.encode(fields, "little");
    return bytesSource(Buffer.concat([header, Buffer.from(xml), stream]), "domain.vsave");
  }

  it("is described by its XML, in a pipe too", async () => {
    const expected = {
      guest: { name: "a & b", uuid: "4305b6a3-4899-4689-8544-c4188df7d33a" },
      details: {
        libvirtDomain: { memory: 16 << 20, maxMemory: 64 << 20, vcpus: 1, maxVcpus: 4 },
      },
    };
    const input = wrapped(save("hvm64").subarray(1248));
    expect(await inspect(input)).toMatchObject(expected);
    expect(await inspect(streamOf(input))).toMatchObject(expected);
  });

  it("has its emulator's state at its place in the file, decoded as in a bare save", async () => {
    const bare = await detailsOf(bytesSource(save("hvm64")));
    const input = wrapped(save("hvm64").subarray(1248));
    const inside = await detailsOf(input);
    const [before, after] = [bare, inside].map(({ emulators }) => emulators[0] as EmulatorInspection);
    expect(after?.emulator).toBe(EMULATOR_NAMES[2]);
    const head = new Uint8Array(4);
    await sliceSource(input, after?.offset ?? 0, 4).read(0, head);
    expect(Buffer.from(head).toString()).toBe("QEVM");
    const names = ({ state }: EmulatorInspection): unknown => state?.details.sections.map(({ name }) => name);
    expect(after && names(after)).toEqual(before && names(before));
    expect(after?.state?.details.sections.length).toBe(22);
  });

  it("of Xen 4.20: what libvirt saved of lvpv, and dumped of it a little earlier", async () => {
    const base = unzstd(path.join(sharedData, "xen420/pvl.save.zst"), folder);
    const unpack = (name: string): string =>
      unzstd(path.join(sharedData, `xen420/${name}.patch.zst`), folder, { patchFrom: base });
    const input = openFile(unpack("lvpv.vsave"));
    const { report } = await verify(input);
    expect(report.findings.filter(({ severity }) => severity === "error")).toEqual([]);
    const inspection = await inspect(input);
    expect(inspection).toMatchObject({
      guest: { name: "lvpv", uuid: "4305b6a3-4899-4689-8544-c4188df7d33a", type: "PV" },
      memory: { present: 32768 * 4096, absent: 0 },
      details: { libvirtDomain: { memory: 128 << 20, maxMemory: 128 << 20, vcpus: 2 } },
    });
    expect(inspection.vcpus).toHaveLength(2);
    const dump = await openGuest(openFile(unpack("lvpv.dump")));
    expect(memoryTotals(dump.memory).present).toBe(32768 * 4096);
    expect(dump.vcpus).toHaveLength(2);
    await dump.close?.();
    input.close();
  });

  it.each([
    ["pvl", "pvl.save"],
    ["lvpv", "lvpv.vsave"],
  ])("of Xen 4.20: every page of %s is the one that was there", async (name, file) => {
    const base = unzstd(path.join(sharedData, "xen420/pvl.save.zst"), folder);
    const input =
      file === "pvl.save"
        ? base
        : unzstd(path.join(sharedData, `xen420/${file}.patch.zst`), folder, { patchFrom: base });
    const guest = await openGuest(openFile(input));
    const { sums } = truth(gunzipText(path.join(sharedData, `xen420/${name}.pages.gz`)));
    expect(sums.size).toBe(32768);
    const mine = await pageSums(guest);
    expect(mine.size).toBe(sums.size);
    expect([...sums].filter(([pfn, sum]) => mine.get(pfn) !== sum)).toEqual([]);
    await guest.close?.();
  });

  it("of Xen 4.20: pvl and xl dump-core of the same paused domain have the same pages", async () => {
    const base = unzstd(path.join(sharedData, "xen420/pvl.save.zst"), folder);
    const core = unzstd(path.join(sharedData, "xen420/pvl.core.patch.zst"), folder, { patchFrom: base });
    const [saved, dumped] = await Promise.all([openGuest(openFile(base)), openGuest(openFile(core))]);
    expect(saved.facts.name).toBe("pvl");
    expect(saved.vcpus).toHaveLength(2);
    const [mine, theirs] = [await pageSums(saved), await pageSums(dumped)];
    expect(mine.size).toBe(32768);
    const differing = [...mine].filter(([pfn, sum]) => theirs.get(pfn) !== sum).map(([pfn]) => pfn);
    // page tables, whose frames are machine frames in the core (xen420/INDEX.md)
    expect(differing).toHaveLength(155);
    await saved.close?.();
    await dumped.close?.();
  });
});
