import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { pageDescriptor } from "../../../src/vmcore/kdump/layout.js";
import { isFlattened } from "../../../src/vmcore/kdump/flattened.js";
import { salvageRecords } from "../../../src/vmcore/kdump/flattened-salvage.js";
import { KdumpFile } from "../../../src/vmcore/kdump/read.js";
import { KdumpPages } from "../../../src/vmcore/kdump/pages.js";
import {
  DAMAGE_KINDS,
  damageSize,
  expectRescue,
  type KnownFile,
  type PagePlace,
  type Place,
  randoms,
} from "../../guest/damage-oracle.js";
import { hasShared, scratch, skipUnless } from "../../shared.js";
import { unpackKdump } from "./data.js";

const place = scratch();
afterAll(place.cleanup);

/** A plain dump with the places of every page's contents, descriptor and bits. */
async function known(bytes: Buffer): Promise<KnownFile & { readonly file: KdumpFile }> {
  const source = bytesSource(bytes);
  const flat = isFlattened(bytes.subarray(0, 16)) ? await salvageRecords(source) : undefined;
  expect(flat?.lost ?? []).toEqual([]);
  /** Where bytes of the plain file are, and the heads of the records that have them. */
  const places = (offset: number, length: number): { bytes: Place[]; heads: Place[] } => {
    if (flat === undefined) return { bytes: [[offset, length]], heads: [] };
    const having = flat.records.filter(({ to, size }) => to < offset + length && to + size > offset);
    return {
      bytes: having.map(({ to, size, from }) => {
        const start = Math.max(to, offset);
        return [from + start - to, Math.min(to + size, offset + length) - start];
      }),
      heads: having.map(({ from }) => [from - 16, 16]),
    };
  };
  const file = await KdumpFile.open(source);
  const guest = await openGuest(source);
  const pages: PagePlace[] = [];
  const contents = new Map<number, Uint8Array>();
  const table = new KdumpPages(file, 0);
  let token = 0;
  for await (const { first, count, kind } of file.runs()) {
    if (kind === "excluded") continue;
    for (let frame = first; frame < first + count; frame += 1) {
      const { offset, size } = await table.descriptor(token);
      const gpa = frame * file.blockSize;
      const page = new Uint8Array(file.blockSize);
      expect(await guest.memory.read(gpa, page)).toBe(page.length);
      token += 1;
      // contents follow a pattern of eight pages: every fifth page has all of it
      if (token % 5 !== 0) continue;
      contents.set(gpa, page);
      pages.push({
        gpa,
        size: file.blockSize,
        contents: places(offset, size).bytes,
        index: [
          ...places(offset, size).heads,
          ...[
            [file.descriptorOffset + (token - 1) * pageDescriptor.size, pageDescriptor.size],
            [file.bitmapOffset + file.bitmapSize + Math.floor(frame / 8), 1],
          ].flatMap(([at = 0, length = 0]) => {
            const { bytes: found, heads } = places(at, length);
            return [...found, ...heads];
          }),
        ],
      });
    }
  }
  return {
    bytes,
    file,
    pages,
    page: ({ gpa }) => contents.get(gpa) ?? new Uint8Array(0),
    open: (damaged) => openGuest(bytesSource(damaged, "damaged"), { partial: true }),
  };
}

describe.skipIf(skipUnless(hasShared, "shared data"))("a kdump that is damaged in one place", () => {
  it.each([
    ["tiny-split.zlib.kdump", 1],
    ["tiny-split.lzo.kdump", 1],
    ["tiny-split.snappy.kdump", 2],
  ])("%s gives what lies outside of the damage", { timeout: 120_000 }, async (name, rounds) => {
    const file = await known(fs.readFileSync(unpackKdump(name, place.folder)));
    const { bitmapOffset, bitmapSize, descriptorOffset } = file.file;
    const tables = descriptorOffset + file.pages.length * 5 * pageDescriptor.size;
    // the bits of memory are few among the bitmaps' bytes
    const targets = [
      [0, bitmapOffset],
      [bitmapOffset, 64],
      [bitmapOffset + bitmapSize, 64],
      [bitmapOffset + (1 << 17), 350],
      [bitmapOffset + bitmapSize + (1 << 17), 350],
      [bitmapOffset, 2 * bitmapSize],
      [descriptorOffset, tables - descriptorOffset],
      [tables, file.bytes.length - tables],
    ] as const;
    for (const kind of DAMAGE_KINDS) {
      const next = randoms(kind.length * 104_729 + rounds);
      for (const [start, length] of targets)
        for (let round = 0; round < rounds; round += 1) {
          const at = start + Math.floor(next() * length);
          // headers and both bitmaps at once leave nothing to find the bitmaps by
          const most = at < bitmapOffset ? bitmapSize : 1 << 20;
          await expectRescue(file, kind, at, Math.min(damageSize(kind, next), most), next);
        }
    }
  });

  it.each(["tiny-split.lzo.flat"])(
    "%s gives what lies outside of the damage, whichever records it is in",
    { timeout: 120_000 },
    async (name) => {
      const file = await known(fs.readFileSync(unpackKdump(name, place.folder)));
      const { records } = await salvageRecords(bytesSource(file.bytes));
      for (const kind of DAMAGE_KINDS) {
        const next = randoms(kind.length * 15_485_863);
        for (let round = 0; round < 10; round += 1) {
          const { from } = records[Math.floor(next() * records.length)] ?? { from: 0 };
          // heads of records, and anywhere
          const at =
            round % 2 === 0
              ? from - 16 + Math.floor(next() * 16)
              : 4096 + Math.floor(next() * (file.bytes.length - 4096));
          await expectRescue(file, kind, at, Math.min(damageSize(kind, next), 1 << 17), next);
        }
      }
    },
  );
});
