import { execFileSync } from "node:child_process";
import * as zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { bytesSource, readFully, streamOf } from "../../../src/io/byte-source.js";
import { openRandomAccess } from "../../../src/io/node/index.js";
import { hasProgram, skipUnless } from "../../shared.js";
import { plainData } from "../codecs/frames/plain-data.js";

/** Text, 3 MiB of zeros, text. */
const contents = new Uint8Array((3 << 20) + 10_000);
contents.set(new TextEncoder().encode("start ".repeat(300)));
contents.set(new TextEncoder().encode("end ".repeat(300)), contents.length - 1200);

async function readAll(
  input: Parameters<typeof openRandomAccess>[0],
): Promise<{ bytes: Uint8Array; compression: string | undefined }> {
  const opened = await openRandomAccess(input);
  const bytes = new Uint8Array(opened.source.size);
  await readFully(opened.source, 0, bytes);
  opened.close();
  return { bytes, compression: opened.compression };
}

describe("inputs made readable at any offset", () => {
  it("a plain file stays as it is", async () => {
    const source = bytesSource(contents);
    expect((await openRandomAccess(source)).source).toBe(source);
  });

  it("a pipe", async () => {
    const { bytes, compression } = await readAll(streamOf(bytesSource(contents, "pipe")));
    expect(compression).toBeUndefined();
    expect(Buffer.compare(bytes, contents)).toBe(0);
  });

  it("gzip, as a file and through a pipe", async () => {
    const packed = bytesSource(zlib.gzipSync(contents), "core.gz");
    for (const input of [packed, streamOf(packed)]) {
      const { bytes, compression } = await readAll(input);
      expect(compression).toBe("gzip");
      expect(Buffer.compare(bytes, contents)).toBe(0);
    }
  });

  for (const [program, name] of [
    ["zstd", "zstd"],
    ["lz4", "lz4"],
    ["xz", "xz"],
  ] as const) {
    it.skipIf(skipUnless(hasProgram(program), program))(name, async () => {
      const packed = execFileSync(program, ["-c", "-q"], { input: contents, maxBuffer: 1 << 24 });
      const { bytes, compression } = await readAll(bytesSource(packed, "core"));
      expect(compression).toBe(name);
      expect(Buffer.compare(bytes, contents)).toBe(0);
    });
  }

  it("damaged bytes are told", async () => {
    const packed = new Uint8Array(zlib.gzipSync(contents));
    await expect(
      readAll(bytesSource(packed.subarray(0, packed.length / 2), "core.gz")),
    ).rejects.toMatchObject({
      code: "codec/gzip",
    });
  });

  it("a damaged pipe is read on at the next part, as a file is", async () => {
    const plain = plainData(300_000);
    const members = [0, 100_000, 200_000].map((at) => zlib.gzipSync(plain.subarray(at, at + 100_000)));
    const packed = Buffer.concat(members);
    packed.fill(0x55, (members[0]?.length ?? 0) + 2000, (members[0]?.length ?? 0) + 2400);
    const input = bytesSource(packed, "core.gz");
    const file = await openRandomAccess(input, { keepTorn: true });
    const pipe = await openRandomAccess(streamOf(input), { keepTorn: true });
    expect(file.source.packed?.lost).toHaveLength(1);
    expect(pipe.source.packed).toEqual(file.source.packed);
    expect(pipe.source.size).toBe(file.source.size);
    for (const { source } of [file, pipe]) {
      const last = new Uint8Array(100_000);
      await readFully(source, source.size - last.length, last);
      expect(Buffer.compare(last, plain.subarray(200_000))).toBe(0);
    }
    file.close();
    pipe.close();
  });
});
