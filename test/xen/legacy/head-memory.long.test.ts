import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hasShared, projectRoot, scratch, skipUnless } from "../../shared.js";
import { sample } from "./streams.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** Bytes that no format begins with: the same in each run. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0, state = 0x9e37_79b9; i < length; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

const damages: Readonly<Record<string, (stream: Uint8Array) => Uint8Array>> = {
  "with 16 random bytes": (stream) => Buffer.concat([noise(16), stream.subarray(16)]),
  "without its first 100 bytes": (stream) => stream.subarray(100),
};

/** Resident memory at its highest, in MiB, of a command of the built command line. */
function peak(args: readonly string[]): number {
  const report = path.join(folder, "report.cjs");
  const [main, result] = [path.join(projectRoot, "dist/cli/main.js"), path.join(folder, "peak")];
  fs.writeFileSync(
    report,
    `process.on("exit", () => require("node:fs").writeFileSync(${JSON.stringify(result)}, String(process.resourceUsage().maxRSS)));`,
  );
  spawnSync(process.execPath, ["--require", report, main, ...args], { timeout: 120_000 });
  return Number(fs.readFileSync(result, "utf8")) / 1024;
}

describe.skipIf(skipUnless(hasShared, "../shared/data"))("a small stream whose head is damaged", () => {
  for (const name of ["pv64-bare", "pv32-t32"])
    for (const [what, damage] of Object.entries(damages))
      it(`${name} ${what} takes no more than 150 MiB`, () => {
        const file = path.join(folder, "damaged");
        fs.writeFileSync(file, damage(sample(name, folder).stream));
        expect(peak(["verify", "--map", file])).toBeLessThan(150);
      });
});
