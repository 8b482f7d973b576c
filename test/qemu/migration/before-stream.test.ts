import { describe, expect, it } from "vitest";
import * as seeds from "../../../fuzz/seeds.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest, verify } from "../../../src/open/open.js";

const [stream = new Uint8Array(0)] = Object.values(seeds.qemuStreams());
const after = (front: Uint8Array): Uint8Array => Buffer.concat([front, stream]);
const codes = async (bytes: Uint8Array): Promise<readonly string[]> =>
  (await verify(bytesSource(bytes))).report.findings.map(({ code }) => code);

describe("bytes in front of a QEMU stream", () => {
  it("are a warning, and a lost part, unless they are zeros up to a sector's end", async () => {
    const whole = await codes(stream);
    expect(await codes(after(new Uint8Array(1024)))).toEqual(whole);
    for (const front of [new Uint8Array(1000), Buffer.alloc(1024, "another program's header")]) {
      expect(await codes(after(front))).toEqual(["qevm/header/preceded", ...whole]);
      const guest = await openGuest(bytesSource(after(front)), { partial: true, findKernel: false });
      expect(guest.rescue?.lost).toMatchObject([{ start: 0, end: front.length }]);
      await guest.close?.();
    }
  });
});
