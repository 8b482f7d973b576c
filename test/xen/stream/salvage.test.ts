import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openGuest } from "../../../src/open/open.js";
import { StrictDiagnostics } from "../../../src/findings/diagnostics.js";
import { LIBXC_RECORD } from "../../../src/xen/libxc/layout.js";
import { XenStream } from "../../../src/xen/stream/read.js";
import { hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

installNodeCodecs();
const PAGE = 4096;
const place = scratch();
afterAll(place.cleanup);

/** Numbers that are the same in every run. */
function* randoms(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

/** Of each page: where its contents are, and its record's header and entry. */
interface Place {
  readonly pfn: number;
  readonly contents: number;
  readonly header: number;
  readonly entry: number;
}

async function places(bytes: Uint8Array): Promise<Place[]> {
  const stream = new XenStream(bytesSource(bytes), new StrictDiagnostics("test"));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const last = new Map<number, Place>();
  for await (const item of stream.items()) {
    if (item.kind !== "record" || item.layer !== "libxc" || item.type !== LIBXC_RECORD.PAGE_DATA) continue;
    const count = view.getUint32(item.bodyOffset, true);
    let contents = item.bodyOffset + 8 + 8 * count;
    for (let i = 0; i < count; i += 1) {
      const entry = item.bodyOffset + 8 + 8 * i;
      const high = view.getUint32(entry + 4, true);
      if (high >>> 28 >= 13) continue;
      const pfn = view.getUint32(entry, true) + (high & 0xf_ffff) * 2 ** 32;
      last.set(pfn, { pfn, contents, header: item.offset, entry });
      contents += PAGE;
    }
  }
  return [...last.values()];
}

async function page(guest: GuestImage, pfn: number): Promise<Buffer | undefined> {
  const into = Buffer.alloc(PAGE);
  return (await guest.memory.read(pfn * PAGE, into)) === PAGE ? into : undefined;
}

describe.skipIf(skipUnless(hasShared, "shared data"))("a Xen stream that is damaged in its middle", () => {
  it.each(["zeros", "ones", "noise"])(
    "gives what lies outside of the damage: %s",
    { timeout: 120_000 },
    async (kind) => {
      const whole = fs.readFileSync(unzstd(`${sharedData}/xen-v3/hvm64.save.zst`, place.folder));
      const all = await places(whole);
      const random = randoms(kind.length * 7919);
      const next = (): number => random.next().value;
      for (let round = 0; round < 12; round += 1) {
        const damaged = Buffer.from(whole);
        // sizes from a few bytes to 1 MiB, also right at a record's header
        const size = Math.ceil(2 ** (3 + next() * 17));
        const target = round % 3 === 0 ? (all[Math.floor(next() * all.length)]?.header ?? 0) : undefined;
        const start = Math.max(8192, target ?? Math.floor(next() * (whole.length - size - (1 << 16))));
        const end = Math.min(start + size, whole.length);
        for (let at = start; at < end; at += 1)
          damaged[at] = kind === "zeros" ? 0 : kind === "ones" ? 0xff : Math.floor(next() * 256);
        const guest = await openGuest(bytesSource(damaged, "damaged"), { partial: true });
        let wanted = 0;
        let recovered = 0;
        let wrong = 0;
        for (const { pfn, contents, header, entry } of all) {
          const touches = (from: number, length: number): boolean => from < end && from + length > start;
          if (touches(contents, PAGE)) continue;
          const found = await page(guest, pfn);
          const isIndexed = !touches(header, 16) && !touches(entry, 8);
          if (isIndexed) wanted += 1;
          if (found === undefined) continue;
          if (!found.equals(whole.subarray(contents, contents + PAGE))) wrong += 1;
          else if (isIndexed) recovered += 1;
        }
        const where = `${kind} from ${start} to ${end}`;
        expect(wrong, where).toBe(0);
        expect(recovered / wanted, where).toBeGreaterThanOrEqual(0.95);
      }
    },
  );
});
