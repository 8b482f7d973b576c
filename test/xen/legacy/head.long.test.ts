import { afterAll, describe, expect, it } from "vitest";
import { PAGE_SIZE } from "../../../src/guest/memory.js";
import { openGuest } from "../../../src/open/open.js";
import { openLegacyGuest } from "../../../src/xen/legacy/guest.js";
import {
  DAMAGE_KINDS,
  expectRescue,
  type KnownFile,
  type PagePlace,
  randoms,
} from "../../guest/damage-oracle.js";
import { scratch } from "../../shared.js";
import { damagedSource, expectHeadRescue, headParts, knownHead } from "./head-damage.js";
import { NAMES, sample } from "./streams.js";

const place = scratch();
afterAll(place.cleanup);
const options = { partial: true, findKernel: false } as const;
const open = (bytes: Buffer): ReturnType<typeof openGuest> => openLegacyGuest(damagedSource(bytes), options);
/** As an input of any format. */
const openAny = (bytes: Buffer): ReturnType<typeof openGuest> => openGuest(damagedSource(bytes), options);
const isPlain = (name: string): boolean => !/remus|tmem|debug/.test(name);

describe.each(NAMES.filter(isPlain))("a damaged head of a legacy stream: %s", (name) => {
  it("gives what lies outside of the damage", { timeout: 600_000 }, async () => {
    const stream = sample(name, place.folder);
    const known = await knownHead(stream, open);
    for (const part of headParts(stream, known.file))
      for (const kind of ["zeros", "ones", "noise"] as const) await expectHeadRescue(known, part, kind);
    const recognised = { ...known, file: { ...known.file, open: openAny } };
    for (const part of headParts(stream, known.file).slice(0, 5))
      await expectHeadRescue(recognised, part, "noise");
    const next = randoms(name.length * 7919);
    const { file } = known;
    const end = file.batches.length > 1 ? file.first + 64 : file.first + 24;
    for (const kind of DAMAGE_KINDS)
      for (let round = 0; round < 8; round += 1) {
        const start = Math.floor(next() * end);
        const size = kind === "flip" ? 1 : Math.ceil(2 ** (next() * 12));
        await expectRescue(file, kind, start, Math.min(size, end - start), next);
      }
  });
});

/** Checkpoints and passes that are compared bring pages more than once: what a whole stream gives is what is wanted. */
async function wholeStream(name: string): Promise<KnownFile> {
  const { stream } = sample(name, place.folder);
  const whole = await open(stream);
  const pages: PagePlace[] = [];
  const contents = new Map<number, Uint8Array>();
  for (const { start, end } of whole.memory.ranges())
    for (let gpa = start; gpa < end; gpa += PAGE_SIZE) {
      const page = new Uint8Array(PAGE_SIZE);
      if ((await whole.memory.read(gpa, page)) < PAGE_SIZE) continue;
      pages.push({ gpa, size: PAGE_SIZE, contents: [], index: [] });
      contents.set(gpa, page);
    }
  await whole.close?.();
  return { bytes: stream, pages, page: ({ gpa }) => contents.get(gpa) ?? new Uint8Array(0), open };
}

describe.each(NAMES.filter((name) => !isPlain(name)))("a damaged head of a stream: %s", (name) => {
  it("gives the state of its last complete checkpoint", { timeout: 600_000 }, async () => {
    const file = await wholeStream(name);
    const known = { ...file, batches: [], body: [0, 0] as const, first: 0 };
    expect(file.pages.length).toBeGreaterThan(100);
    const { meta } = sample(name, place.folder);
    const base = meta.envelope === "xl" ? 48 + file.bytes.readUInt32LE(44) : 0;
    const pv = base + 4 + meta.width / 4;
    const info = meta.guest === "pv" ? file.bytes.readUInt32LE(pv - 4) : 0;
    const ends = [base + meta.width / 8, ...(meta.guest === "pv" ? [pv + 4, pv + info] : [])];
    const whole = await open(file.bytes);
    for (const end of ends)
      for (const kind of ["zeros", "ones", "noise"] as const)
        for (const start of new Set([0, base]))
          await expectHeadRescue({ file: known, whole }, { name, start, end }, kind);
  });
});
