import * as zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { bytesSource, readFully } from "../../../src/io/byte-source.js";
import { readIntact } from "../../../src/io/lost-bytes.js";
import { openRandomAccess } from "../../../src/io/node/decompress.js";
import { blobSource } from "../../../src/io/web/blob.js";
import { unpackToBlob } from "../../../src/io/web/unpack.js";
import { DAMAGE_KINDS, damage, randoms } from "../../guest/damage-oracle.js";
import { rounds } from "../../shared.js";
import { plainData } from "../codecs/frames/plain-data.js";

/** Data with a piece of zeros, packed in parts of several sizes. */
const plain = Buffer.concat([plainData(1_000_000), Buffer.alloc(9 << 20), plainData(500_000)]);
const ends = [300_000, 700_000, 5_000_000, plain.length];
const packed = Buffer.concat(
  ends.map((end, i) => zlib.gzipSync(plain.subarray(ends[i - 1] ?? 0, end), { level: 1 })),
);

const blobOf = (bytes: Uint8Array): ReturnType<typeof blobSource> =>
  blobSource(new Blob([Uint8Array.from(bytes)]), "web01.gz");

describe("a packed Blob", () => {
  it("is unpacked whole", async () => {
    const source = await unpackToBlob(blobOf(packed));
    expect(source?.packed).toEqual({ compression: "gzip" });
    const bytes = Buffer.alloc(plain.length + 1);
    expect(source && (await readFully(source, 0, bytes))).toBe(plain.length);
    expect(bytes.subarray(0, -1).equals(plain)).toBe(true);
  });

  it("is none where it isn't packed", async () => {
    expect(await unpackToBlob(blobOf(plain))).toBeUndefined();
  });

  it("is read on after damage as a file is", async () => {
    const next = randoms(3);
    for (let round = 0; round < rounds(12); round += 1) {
      const kind = DAMAGE_KINDS[round % DAMAGE_KINDS.length] ?? "zeros";
      const start = Math.floor(100 + next() * (packed.length - 500));
      const damaged = damage(packed, kind, start, start + 300, next);
      const source = await unpackToBlob(blobOf(damaged));
      const file = await openRandomAccess(bytesSource(damaged, "web01.gz"), { keepTorn: true });
      expect(source?.packed).toEqual(file.source.packed);
      expect(source?.size).toBe(file.source.size);
      if (source === undefined) continue;
      for (let at = 0; at < source.size; ) {
        const [ours, known] = [Buffer.alloc(1 << 20), Buffer.alloc(1 << 20)];
        const came = await readIntact(source, at, ours);
        expect(await readIntact(file.source, at, known)).toEqual(came);
        expect(ours.equals(known)).toBe(true);
        at += Math.max(1, came.next ?? came.length);
      }
      file.close();
    }
  });
});
