import { verifyAs } from "../../verify-as.js";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { SystemError } from "../../../src/findings/errors.js";
import { FlattenedSource } from "../../../src/vmcore/kdump/flattened.js";
import { kdump } from "../../../src/vmcore/kdump/format.js";
import { subHeader64 } from "../../../src/vmcore/kdump/layout.js";
import { createKdumpWriter } from "../../../src/vmcore/kdump/write.js";
import { fixtures, gunzipText } from "../../shared.js";
import { differences, pagesOf } from "./data.js";
import { MemoryFile } from "../model.js";

/** QEMU 7.2's dump of a tiny guest: memory below 2 MiB, at the BIOS and at 4 GiB. */
const folder = path.join(fixtures, "vmcore");
const flat = new Uint8Array(zlib.gunzipSync(fs.readFileSync(path.join(folder, "tiny-split.lzo.flat.gz"))));
const lines = gunzipText(path.join(folder, "tiny-split.lzo.flat.pages.gz")).trim().split("\n");
const truth = new Map(
  lines.map((line) => {
    const [pfn = "", crc = ""] = line.split(" ");
    return [Number.parseInt(pfn, 16), crc] as const;
  }),
);

async function open(
  bytes: Uint8Array,
  name = "fixture",
  siblings: Record<string, Uint8Array> = {},
): Promise<GuestImage> {
  const guest = await kdump.reader.openGuest(bytesSource(bytes, name), {
    openFile: async (other) => {
      const found = siblings[other];
      if (found === undefined) throw new SystemError("os/ENOENT", "no such file", { source: other });
      return bytesSource(found, other);
    },
  });
  if (guest === undefined) throw new Error("no openGuest");
  return guest;
}

/** The plain file a flattened one stands for. */
async function plain(): Promise<Uint8Array> {
  const source = await FlattenedSource.open(bytesSource(flat));
  const bytes = new Uint8Array(source.size);
  expect(await source.read(0, bytes)).toBe(source.size);
  return bytes;
}

async function codes(bytes: Uint8Array): Promise<string[]> {
  const report = new Report("fixture");
  await verifyAs(kdump, bytesSource(bytes), report);
  return [...new Set(report.findings.map(({ code }) => code))];
}

describe("a kdump of QEMU, from the repository", () => {
  it("gives its pages, flattened and rearranged", async () => {
    expect(differences((await pagesOf(await open(flat))).pages, truth)).toEqual([]);
    expect(differences((await pagesOf(await open(await plain()))).pages, truth)).toEqual([]);
  });

  it("is the same after every compression, written and read one after another", async () => {
    let guest = await open(flat);
    for (const compress of ["snappy", "zstd", "none", "zlib", "lzo"] as const) {
      const file = new MemoryFile();
      await createKdumpWriter().write(guest, file, { compress });
      guest = await open(file.bytes());
      expect(differences((await pagesOf(guest)).pages, truth), compress).toEqual([]);
    }
    const first = await open(flat);
    expect(guest.vcpus).toEqual(first.vcpus);
    expect(guest.facts.vmcoreInfo).toEqual(first.facts.vmcoreInfo);
  });

  it("a damaged page is a finding, and an error only when it is read", async () => {
    const bytes = await plain();
    const good = await open(bytes);
    // contents of pages near the end of memory lie last
    const at = bytes.length - 3000;
    bytes.fill(0xaa, at, at + 40);
    expect(await codes(bytes)).toEqual(["kdump/sub-header/phys-base", "kdump/page/damaged"]);
    const guest = await open(bytes);
    const [intact, damaged] = [new Uint8Array(4096), new Uint8Array(4096)];
    expect(await good.memory.read(0x1000, intact)).toBe(4096);
    expect(await guest.memory.read(0x1000, damaged)).toBe(4096);
    await expect(pagesOf(guest)).rejects.toMatchObject({ code: "kdump/page/damaged" });
  });

  it("parts of a set: found by name, apart by their ranges, foreign ones left alone", async () => {
    const whole = await plain();
    const bounds = [0, 100, 0xffff8, 0x10_0000 + 900, 0x10_0a00];
    // each part begins its descriptors with its own first page
    const parts = bounds.slice(1).map((end, i) => {
      const start = bounds[i] ?? 0;
      const frames = [...truth.keys()];
      const first = frames.filter((pfn) => pfn < start).length;
      return partOf(whole, { start, end, first, count: frames.filter((pfn) => pfn < end).length - first });
    });
    const files = Object.fromEntries(parts.map((part, i) => [`/x/dump.${i}`, part]));
    const [first = whole, second = whole] = parts;
    const all = await open(second, "/x/dump.1", files);
    expect(differences((await pagesOf(all)).pages, truth)).toEqual([]);
    expect(all.warnings.filter((warning) => warning.includes("part"))).toEqual([]);

    const alone = await open(first, "/x/dump.0", { "/x/dump.2": whole });
    const { pages, reasons } = await pagesOf(alone);
    expect([...reasons]).toEqual([["not in this part of a split dump", truth.size - 100]]);
    for (let pfn = 0; pfn < 100; pfn += 1)
      expect(Number.parseInt(pages.get(pfn) ?? "", 16)).toBe(Number.parseInt(truth.get(pfn) ?? "", 16));

    // what was opened beside it is given back: what doesn't belong at once, the parts with the guest
    const closed: string[] = [];
    const beside: Readonly<Record<string, Uint8Array>> = {
      ...files,
      "/x/dump.5": new Uint8Array(9),
      "/x/dump.0": whole,
    };
    const guest = await kdump.reader.openGuest(bytesSource(second, "/x/dump.1"), {
      openFile: async (name) => {
        const bytes = beside[name];
        if (bytes === undefined) throw new SystemError("os/ENOENT", "no such file", { source: name });
        return { ...bytesSource(bytes, name), close: () => closed.push(name) };
      },
    });
    expect([...new Set(closed)]).toEqual(["/x/dump.0", "/x/dump.5"]);
    await guest?.close?.();
    expect([...new Set(closed)].sort()).toEqual(["/x/dump.0", "/x/dump.2", "/x/dump.3", "/x/dump.5"]);
  });
});

/** A part of a split dump as makedumpfile writes it: its own descriptors, the shared zeros, its own contents. */
function partOf(
  whole: Uint8Array,
  { start, end, first, count }: { start: number; end: number; first: number; count: number },
): Uint8Array {
  const table = descriptorsOf(whole);
  const view = new DataView(whole.buffer, whole.byteOffset);
  const at = (i: number): number => Number(view.getBigUint64(table + (first + i) * 24, true));
  const sizeAt = (i: number): number => view.getUint32(table + (first + i) * 24 + 8, true);
  const zeros = table + truth.size * 24;
  const own = Array.from({ length: count }, (_, i) => i).filter((i) => at(i) !== zeros);
  const from = at(own[0] ?? 0);
  const last = own.at(-1) ?? 0;
  const head = table + count * 24;
  const part = Buffer.concat([
    whole.subarray(0, table),
    whole.subarray(table + first * 24, table + (first + count) * 24),
    whole.subarray(zeros, zeros + 4096),
    whole.subarray(from, at(last) + sizeAt(last)),
  ]);
  for (let i = 0; i < count; i += 1) {
    const moved = at(i) === zeros ? head : at(i) - from + head + 4096;
    part.writeBigUInt64LE(BigInt(moved), table + i * 24);
  }
  const sub = subHeader64.decode(part.subarray(4096), "little");
  const range = { start_pfn: BigInt(start), end_pfn: BigInt(end), start_pfn_64: start, end_pfn_64: end };
  part.set(subHeader64.encode({ ...sub, split: 1, ...range }, "little"), 4096);
  return part;
}

function descriptorsOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return (1 + view.getInt32(432, true) + view.getUint32(436, true)) * 4096;
}
