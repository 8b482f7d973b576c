import { expect, it } from "vitest";
import { PageMap } from "../../src/guest/page-map.js";
import { bytesSource } from "../../src/io/byte-source.js";

it("a walk over memory whose contents are at hand lets the event loop turn", async () => {
  const map = new PageMap(bytesSource(new Uint8Array(64 << 20)));
  map.set(0, (64 << 20) / 4096, 0);
  let turns = 0;
  let timer = setImmediate(count);
  function count(): void {
    turns += 1;
    timer = setImmediate(count);
  }
  let length = 0;
  for await (const piece of map.pieces()) {
    length += piece.length;
  }
  clearImmediate(timer);
  expect(length).toBe(64 << 20);
  expect(turns).toBeGreaterThan(8);
});
