import { expect, it } from "vitest";
import { X86_64 } from "../../src/guest/arch/x86.js";
import { findVmcoreInfo, kernelBanner } from "../../src/guest/kernel/vmcoreinfo.js";
import type { PhysicalMemory } from "../../src/guest/memory.js";
import { PageMap } from "../../src/guest/page-map.js";
import { bytesSource } from "../../src/io/byte-source.js";

const SIZE = 192 << 20;

it.each([
  [
    "walk over",
    async (memory: PhysicalMemory): Promise<void> => {
      let length = 0;
      for await (const piece of memory.pieces()) length += piece.length;
      expect(length).toBe(SIZE);
    },
  ],
  [
    "search for VMCOREINFO in",
    async (memory: PhysicalMemory): Promise<void> =>
      expect(await findVmcoreInfo(memory, X86_64)).toBeUndefined(),
  ],
  [
    "search for a banner in",
    async (memory: PhysicalMemory): Promise<void> =>
      expect(await kernelBanner(memory, X86_64)).toBeUndefined(),
  ],
])("a %s memory whose contents are at hand lets the event loop turn", async (_, work) => {
  const map = new PageMap(bytesSource(new Uint8Array(SIZE)));
  map.set(0, SIZE / 4096, 0);
  let turns = 0;
  let timer = setImmediate(count);
  function count(): void {
    turns += 1;
    timer = setImmediate(count);
  }
  await work(map);
  clearImmediate(timer);
  expect(turns).toBeGreaterThan(8);
});
