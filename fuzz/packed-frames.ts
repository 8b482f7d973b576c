import { execFileSync } from "node:child_process";
import { bytesSource } from "../src/io/byte-source.js";
import { readIntact } from "../src/io/lost-bytes.js";
import { openRandomAccess } from "../src/io/node/decompress.js";
import { attempt, Violation } from "./checks.js";
import type { Inputs } from "./seeds.js";
import type { Target } from "./targets.js";

const PROGRAMS: readonly (readonly [name: string, program: string, ...options: string[]])[] = [
  ["zstd", "zstd", "-q"],
  ["xz", "xz", "--block-size=4KiB"],
  ["gzip", "gzip"],
  ["bgzip", "bgzip"],
  ["lz4", "lz4", "-q", "-B4"],
  ["lz4-sums", "lz4", "-q", "-B4", "-BX", "--content-size"],
  ["bzip2", "bzip2", "-1"],
  ["lzop", "lzop"],
];

/** Packed data of several frames: those that are whole are read on at, and what is lost can't be read. */
export const packedFrames: Target = {
  name: "packed-frames",
  async seeds() {
    const inputs: Inputs = {};
    const plain = Uint8Array.from({ length: 300_000 }, (_, i) => (i % 5 === 0 ? (i * i) >> 3 : 7));
    for (const [name, program, ...options] of PROGRAMS) {
      const pack = (input: Uint8Array): Uint8Array =>
        execFileSync(program, [...options, "-c"], { input, stdio: ["pipe", "pipe", "ignore"] });
      try {
        const parts = [plain.subarray(0, 100_000), plain.subarray(100_000, 120_000), plain.subarray(120_000)];
        inputs[name] = Uint8Array.from(Buffer.concat(parts.map(pack)));
      } catch {
        // a program that isn't here: the others do
      }
    }
    return inputs;
  },
  async run(bytes) {
    await attempt("unpack", async () => {
      const opened = await openRandomAccess(bytesSource(bytes, "packed"), { keepTorn: true });
      const { source } = opened;
      const lost = source.packed?.lost ?? [];
      const gone = lost.reduce((sum, { start, end }) => sum + end - start, 0);
      let came = 0;
      const into = new Uint8Array(1 << 20);
      for (let at = 0; at < source.size; ) {
        const { length, next } = await readIntact(source, at, into);
        if (length === 0 && next === undefined) throw new Violation(`nothing at ${at} of ${source.size}`);
        came += length;
        at += next ?? length;
      }
      opened.close();
      if (came + gone !== source.size) throw new Violation(`${came} and ${gone} bytes of ${source.size}`);
    });
    return "read";
  },
};
