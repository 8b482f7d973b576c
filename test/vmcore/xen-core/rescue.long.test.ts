import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { DAMAGE_KINDS, damageSize, expectRescue, randoms } from "../../guest/damage-oracle.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { knownXenCore } from "./rescued-file.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

describe.skipIf(skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd"))("Xen cores", () => {
  it.each(["hvm64", "hvm64-live", "pvh64", "pv64"])(
    "%s, damaged at random places",
    { timeout: 600_000 },
    async (name) => {
      const bytes = fs.readFileSync(unzstd(path.join(sharedData, "xen-v3", `${name}.core.zst`), folder));
      const file = await knownXenCore(bytes);
      for (const kind of DAMAGE_KINDS) {
        const next = randoms(kind.length * 7919);
        for (let round = 0; round < 16; round += 1) {
          const size = damageSize(kind, next);
          const [head, table] = [
            Math.floor(next() * 3000),
            Math.floor(next() * (bytes.length - file.tableAt)),
          ];
          const anywhere = Math.floor(next() * (bytes.length - size));
          const start = [head, file.tableAt + table, anywhere, head][round % 4] ?? 0;
          await expectRescue(file, kind, start, round % 4 === 0 ? Math.min(size, 64) : size, next);
        }
      }
    },
  );

  it("a PV guest's pages have their frames without the table, where each frame has one", {
    timeout: 600_000,
  }, async () => {
    const save = unzstd(path.join(sharedData, "xen420/pvl.save.zst"), folder);
    const packed = path.join(sharedData, "xen420/pvl.core.patch.zst");
    const core = path.join(folder, "pvl.core");
    execFileSync("zstd", ["-dqf", "--long=28", `--patch-from=${save}`, packed, "-o", core]);
    const bytes = fs.readFileSync(core);
    const file = await knownXenCore(bytes);
    const zeroed = Buffer.from(bytes).fill(0, file.tableAt, file.tableAt + 16 * file.pages.length);
    for (const damaged of [zeroed, bytes.subarray(0, file.tableAt)]) {
      const guest = await openGuest(bytesSource(damaged), { partial: true, findKernel: false });
      expect(guest.unplaced).toBeUndefined();
      const page = Buffer.alloc(4096);
      for (const place of file.pages) {
        expect(await guest.memory.read(place.gpa, page)).toBe(4096);
        if (!page.equals(file.page(place))) throw new Error(`0x${place.gpa.toString(16)} differs`);
      }
    }
  });
});
