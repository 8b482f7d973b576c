import { execFileSync } from "node:child_process";
import { beforeAll, describe, expect, it } from "vitest";
import { installNodeCodecs } from "../../../../src/io/node/codecs.js";
import { hasProgram, skipUnless } from "../../../shared.js";
import { expectReadOn, packedInParts } from "./packed-oracle.js";
import { plainData } from "./plain-data.js";

const run = (program: string, ...options: string[]) => {
  return (input: Buffer): Buffer =>
    execFileSync(program, [...options, "-c", "-q"], { input, maxBuffer: 1 << 28 });
};

describe("zstd frames after damage", () => {
  const absent = skipUnless(hasProgram("zstd"), "zstd");
  beforeAll(installNodeCodecs);

  it.skipIf(absent)("are read on at the next, whatever the damage is", async () => {
    const file = packedInParts(plainData(2 << 20), 288 << 10, (part) =>
      run("zstd", `--stream-size=${part.length}`)(part),
    );
    const { measured } = await expectReadOn(file, { rounds: 15 });
    expect(measured).toBeGreaterThanOrEqual(8);
  });
});
