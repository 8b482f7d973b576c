import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { StrictDiagnostics } from "../../../src/findings/diagnostics.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { loadDecompressor } from "../../../src/io/codecs/codec.js";
import { openGuest } from "../../../src/open/open.js";
import { FLAG } from "../../../src/qemu/migration/layout.js";
import { readStream } from "../../../src/qemu/migration/read.js";
import { guestOf } from "../../../src/qemu/migration/memory-of-stream.js";
import {
  DAMAGE_KINDS,
  damageSize,
  expectRescue,
  type KnownFile,
  type PagePlace,
  type Place,
  randoms,
} from "../../guest/damage-oracle.js";
import { scratch } from "../../shared.js";
import { noSamples, unpackSample } from "./samples.js";

installNodeCodecs();
const PAGE = 4096;
const place = scratch();
afterAll(place.cleanup);

/** A lost part between the differences of a page may have held another: nothing can know that it didn't. */
function spanOf(records: readonly { index: Place; contents: Place }[]): Place {
  const start = records[0]?.index[0] ?? 0;
  const [offset = 0, length = 0] = records.at(-1)?.contents ?? [];
  return records.length > 1 ? [start, offset + length - start] : [start, 0];
}

/** Where each page's records are: of each page the last whole one, and the differences since. */
async function realStream(name: string): Promise<KnownFile & { ram: readonly [number, number] }> {
  const bytes = fs.readFileSync(unpackSample(name, place.folder));
  const open = (input: Buffer) => openGuest(bytesSource(input, name), { partial: true });
  const stream = await readStream(bytesSource(bytes), new StrictDiagnostics(name), {
    forReading: true,
    zlib: await loadDecompressor("zlib"),
  });
  const whole = await open(bytes);
  const blocks = new Map((stream.ram?.blocks ?? []).map((block) => [block.name, block]));
  if (stream.ram === undefined) throw new Error("no RAM");
  const { mappings } = (await guestOf(stream, stream.ram, {}, {})).map;
  const section = stream.sections.find(({ name: of }) => of === "ram");
  // the records once more, by themselves
  const records = new Map<number, { index: Place; contents: Place }[]>();
  // type, number, name with its length, instance, version
  const start = (section?.offset ?? 0) + 1 + 4 + 4 + 8;
  let at = start;
  let block: { firstFrame: number } | undefined;
  let end = start;
  for (;;) {
    const low = bytes.readUInt32BE(at + 4);
    const flags = low & 0xfff;
    const address = bytes.readUInt32BE(at) * 2 ** 32 + (low - flags);
    const kind = flags & ~FLAG.continue;
    let next = at + 8;
    if (kind === FLAG.eos) {
      // footer, then the head of the next part
      if (bytes[next] !== 0x7e || ![2, 3].includes(bytes[next + 5] ?? 0)) break;
      end = at;
      at = next + 10;
      continue;
    }
    if (kind === FLAG.memSize) {
      for (let sum = 0; sum < address; ) {
        next += 1 + (bytes[next] ?? 0);
        sum += Number(bytes.readBigUInt64BE(next));
        next += 8;
      }
      at = next;
      continue;
    }
    if (kind === flags) {
      const length = bytes[next] ?? 0;
      block = blocks.get(bytes.toString("latin1", next + 1, next + 1 + length));
      next += 1 + length;
    }
    const body = next;
    if (kind === FLAG.page) next += PAGE;
    else if (kind === FLAG.zero) next += 1;
    else if (kind === FLAG.xbzrle) next += 3 + bytes.readUInt16BE(next + 1);
    else if (kind === FLAG.compress) next += 4 + bytes.readUInt32BE(next);
    else throw new Error(`flags ${flags} at ${at}`);
    const page = (block?.firstFrame ?? 0) + address / PAGE;
    const head = kind === FLAG.xbzrle ? body + 3 : kind === FLAG.compress ? body + 4 : body;
    const record = { index: [at, head - at] as const, contents: [head, next - head] as const };
    if (kind === FLAG.xbzrle) records.get(page)?.push(record);
    else records.set(page, [record]);
    at = next;
  }
  const contents = new Map<number, Buffer>();
  const pages: PagePlace[] = [];
  for (const { start: gpa, end: stop, at: from } of mappings) {
    if (from === undefined) continue;
    for (let here = gpa; here < stop; here += PAGE) {
      const of = records.get((from + here - gpa) / PAGE);
      if (of === undefined) continue;
      const page = Buffer.alloc(PAGE);
      if ((await whole.memory.read(here, page)) < PAGE) continue;
      contents.set(here, page);
      pages.push({
        gpa: here,
        size: PAGE,
        contents: of.map((record) => record.contents),
        index: [...of.map((record) => record.index), spanOf(of)],
      });
    }
  }
  return { bytes, pages, page: ({ gpa }) => contents.get(gpa) ?? Buffer.alloc(0), open, ram: [start, end] };
}

describe.skipIf(noSamples)("a QEMU stream that is damaged in its memory", () => {
  it.each(["tiny-pc2", "tiny-numa", "tiny-arm", "tiny-compress", "tiny-live"])(
    "gives what lies outside of the damage: %s",
    { timeout: 300_000 },
    async (name) => {
      const file = await realStream(name);
      const [start, end] = file.ram;
      expect(file.pages.length).toBeGreaterThan(1000);
      const heads = file.pages.flatMap(({ index }) => index.map(([offset]) => offset));
      for (const kind of DAMAGE_KINDS) {
        // compressed records are in no order that shows which are out of place, differences of another time fit any page
        if ((name === "tiny-compress" || name === "tiny-live") && kind === "other pages") continue;
        const next = randoms(kind.length * 7919 + name.length);
        for (let round = 0; round < 10; round += 1) {
          const size = damageSize(kind, next);
          const head = heads[Math.floor(next() * heads.length)] ?? start;
          const target =
            round % 2 === 0
              ? head + Math.floor(next() * 8)
              : start + Math.floor(next() * (end - start - size));
          await expectRescue(file, kind, Math.max(start + 256, target), Math.min(size, end - target), next);
        }
      }
    },
  );
});
