import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FileSource } from "../../src/io/node/index.js";
import { openKernel } from "../../src/linux/kernel.js";
import { findUnnamedVariables } from "../../src/linux/unnamed-variables.js";
import { openGuest } from "../../src/open/index.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../shared.js";

const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
let place: ReturnType<typeof scratch>;

beforeAll(() => {
  place = scratch();
});
afterAll(() => place.cleanup());

describe.skipIf(noData)("variables that a kernel without CONFIG_KALLSYMS_ALL doesn't name", () => {
  it.each([
    ["xen420/pvl.save.zst", false],
    ["qemu11/linux-q35-la57/stream.qevm.zst", true],
  ])("%s: are found where the kernel that names them has them", async (packed, hasModules) => {
    const file = unzstd(path.join(sharedData, packed), place.folder);
    const source = new FileSource(fs.openSync(file, "r"), file);
    const guest = await openGuest(source);
    try {
      const kernel = await openKernel(guest);
      const text = kernel.needSymbol("_stext");
      const found = await findUnnamedVariables(kernel.space, kernel.needTypes(), kernel.info, text);
      expect(found.get("init_task")).toBe(kernel.symbols?.address("init_task"));
      // an empty list has no module to be known by
      expect(found.get("modules")).toBe(hasModules ? kernel.symbols?.address("modules") : undefined);
    } finally {
      await guest.close?.();
      source.close();
    }
  });
});
