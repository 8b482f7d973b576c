import { describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { inspect, openGuest, verify } from "../../../src/open/open.js";
import { LIBXC_RECORD } from "../../../src/xen/libxc/layout.js";
import { expectHeadRescue, headParts, SHAPES } from "./head-damage.js";
import { makeStream } from "./stream-maker.js";

describe.each(SHAPES.slice(0, 2))("a damaged head of a stream: $guest, version $version, $layer", (shape) => {
  it.each(headParts(shape))("$name", async (part) => expectHeadRescue(shape, part));
});

describe("a stream whose first bytes are damaged", () => {
  const bytes = Buffer.from(makeStream({ guest: "hvm", version: 3, layer: "xl", order: "little", pages: 9 }));
  const damaged = Buffer.from(bytes).fill(0xa5, 0, 16);

  it("is refused, with what reads it, without `partial`", async () => {
    await expect(openGuest(bytesSource(damaged, "damaged"))).rejects.toMatchObject({
      code: "open/damaged-head",
      remedy: { option: "partial" },
    });
    const { report } = await verify(bytesSource(damaged, "damaged"));
    expect(report.findings.map(({ code }) => code)).toEqual(["open/damaged-head"]);
  });

  it("is inspected with its guest and the damage", async () => {
    const inspection = await inspect(bytesSource(damaged, "damaged"));
    expect(inspection.kind).toBe("xen-stream");
    expect(inspection.damage.length).toBeGreaterThan(0);
    expect(inspection.guest?.type).toBe("HVM");
  });

  it("says what is lost, and what of it the rest shows", async () => {
    const first = bytes.indexOf("XENF") + 32;
    const headless = Buffer.from(bytes).fill(0, 0, first);
    const { rescue, facts } = await openGuest(bytesSource(headless, "damaged"), { partial: true });
    expect(rescue?.lost).toMatchObject([{ start: 0, end: first, what: "the stream's headers" }]);
    expect(rescue?.head).toEqual([
      { fact: "guest type", value: "HVM", from: "HVM_CONTEXT" },
      { fact: "version of the stream", value: "3", from: "records that only version 3 has" },
      { fact: "version of Xen" },
      { fact: "domain's configuration" },
    ]);
    expect(facts.hypervisor).toBeUndefined();
  });

  it("a record whose type was made that of an HVM context by damage shows no kind of guest", async () => {
    const pv = Buffer.from(makeStream({ guest: "pv", version: 3, layer: "xl", order: "little", pages: 9 }));
    const first = pv.indexOf("XENF") + 32;
    pv.fill(0, 0, first).writeUInt32LE(LIBXC_RECORD.HVM_CONTEXT, first);
    const { rescue, facts } = await openGuest(bytesSource(pv, "damaged"), { partial: true });
    expect(facts.guestType).toBe("PV");
    expect(rescue?.head).toContainEqual({ fact: "guest type", value: "PV", from: "its vCPUs' records" });
  });

  it("is none where no records prove themselves", async () => {
    const noise = Buffer.from(Array.from({ length: 1 << 16 }, (_, i) => (i * 2654435761) >>> 24));
    await expect(openGuest(bytesSource(noise, "noise"), { partial: true })).rejects.toMatchObject({
      code: "open/unknown",
    });
  });
});

describe("records after a stream's memory that are damaged", () => {
  const shape = { guest: "hvm", version: 3, layer: "xl", order: "little", pages: 9 } as const;
  const bytes = Buffer.from(makeStream(shape));

  it.each([8, 16, 24, 40])("from %d bytes before the end", async (before) => {
    const damaged = Buffer.from(bytes).fill(0x5a, bytes.length - before);
    const whole = await openGuest(bytesSource(bytes, "whole"));
    const guest = await openGuest(bytesSource(damaged, "damaged"), { partial: true });
    expect(guest.vcpus.length).toBe(whole.vcpus.length);
    // damage inside of an emulator's state can't be seen
    expect(guest.rescue?.lost).toMatchObject([
      { end: bytes.length, what: "records of the emulator's state" },
    ]);
    expect(guest.rescue?.lost[0]?.start).toBeGreaterThan(bytes.length - 200);
  });
});
