import { execFileSync } from "node:child_process";
import { beforeAll, describe, expect, it } from "vitest";
import { installNodeCodecs } from "../../../../src/io/node/codecs.js";
import { hasProgram, skipUnless } from "../../../shared.js";
import { expectReadOn, type KnownPacked, packedInParts } from "./packed-oracle.js";
import { plainData } from "./plain-data.js";
import { walkedFrames } from "./walked-frames.js";

const run = (program: string, ...options: string[]) => {
  return (input: Buffer): Buffer =>
    execFileSync(program, [...options, "-c"], {
      input,
      maxBuffer: 1 << 28,
      stdio: ["pipe", "pipe", "ignore"],
    });
};

/** How data are packed in parts, and how many of the damages at least leave every place known. */
interface Way {
  readonly program: string;
  readonly pack: (plain: Buffer) => KnownPacked | Promise<KnownPacked>;
  readonly measured: number;
}

const KIB = 1 << 10;
const joined =
  (program: string, ...options: string[]) =>
  (plain: Buffer): KnownPacked =>
    packedInParts(plain, 288 * KIB, run(program, ...options));

/** Frames with the seekable format's table after them: the packed and unpacked length of each, in a skippable frame. */
function withSeekTable(known: KnownPacked): KnownPacked {
  const table = Buffer.alloc(8 + known.frames.length * 8 + 9);
  table.writeUInt32LE(0x184d2a5e, 0);
  table.writeUInt32LE(table.length - 8, 4);
  for (const [i, { start, end, from, to }] of known.frames.entries()) {
    table.writeUInt32LE(end - start, 8 + 8 * i);
    table.writeUInt32LE(to - from, 12 + 8 * i);
  }
  table.writeUInt32LE(known.frames.length, table.length - 9);
  table.writeUInt32LE(0x8f92eab1, table.length - 4);
  return { ...known, packed: Buffer.concat([known.packed, table]) };
}

/** The same data with the index of their one stream damaged, which is after the last block. */
function withoutIndex(known: KnownPacked): KnownPacked {
  const packed = Buffer.from(known.packed).fill(0, known.frames.at(-1)?.end);
  return { ...known, packed };
}

/** Of 10 damages. */
const WAYS: Readonly<Record<string, Way>> = {
  "zstd files joined": {
    program: "zstd",
    pack: (plain) =>
      packedInParts(plain, 288 * KIB, (part) => run("zstd", "-q", `--stream-size=${part.length}`)(part)),
    measured: 5,
  },
  "frames as pzstd writes them": {
    program: "zstd",
    pack: (plain) =>
      packedInParts(plain, 288 * KIB, (part) => {
        const frame = run("zstd", "-q")(part);
        // a skippable frame with the packed length of the next
        const before = Buffer.from("502a4d180400000000000000", "hex");
        before.writeUInt32LE(frame.length, 8);
        return Buffer.concat([before, frame]);
      }),
    measured: 4,
  },
  "xz blocks": {
    program: "xz",
    pack: (plain) => walkedFrames("xz", plain, run("xz", "-T2", "-1", "--block-size=256KiB")(plain)),
    measured: 10,
  },
  "zstd in the seekable format": {
    program: "zstd",
    // of a pipe: frames that don't say how long they are
    pack: (plain) => withSeekTable(packedInParts(plain, 288 * KIB, run("zstd", "-q"))),
    measured: 9,
  },
  "xz blocks without their index": {
    program: "xz",
    pack: async (plain) => {
      const packed = run("xz", "-T2", "-1", "--block-size=256KiB")(plain);
      return withoutIndex(await walkedFrames("xz", plain, packed));
    },
    measured: 5,
  },
  "gzip files joined": { program: "gzip", pack: joined("gzip"), measured: 0 },
  "blocks of bgzip": {
    program: "bgzip",
    pack: (plain) => walkedFrames("gzip", plain, run("bgzip")(plain)),
    measured: 4,
  },
  "lz4 blocks": {
    program: "lz4",
    pack: (plain) => walkedFrames("lz4", plain, run("lz4", "-q", "-B5", "-BI")(plain)),
    measured: 4,
  },
  "lz4 blocks with checksums": {
    program: "lz4",
    pack: (plain) => walkedFrames("lz4", plain, run("lz4", "-q", "-B5", "-BX", "--content-size")(plain)),
    measured: 4,
  },
  "bzip2 blocks": {
    program: "bzip2",
    pack: (plain) => walkedFrames("bzip2", plain, run("bzip2", "-1")(plain)),
    measured: 0,
  },
  "lzop blocks": {
    program: "lzop",
    pack: (plain) => walkedFrames("lzop", plain, run("lzop")(plain)),
    measured: 4,
  },
};

describe.each(Object.entries(WAYS))("damaged %s", (_, { program, pack, measured }) => {
  const absent = skipUnless(hasProgram(program), program);
  beforeAll(installNodeCodecs);

  it.skipIf(absent)("are read on at the next, and nothing comes out wrong", async () => {
    const came = await expectReadOn(await pack(plainData(3 << 19)), { rounds: 10 });
    expect(came.measured).toBeGreaterThanOrEqual(measured);
  });
});
