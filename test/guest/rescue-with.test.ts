import { describe, expect, it } from "vitest";
import { type Rescue, rescueWith, withMoreLost } from "../../src/guest/salvage.js";

const part = (start: number): Rescue["lost"][number] => ({ start, end: start + 1, proof: 0 });
const doubt = (start: number): Rescue["doubtful"][number] => ({ start, end: start + 1, why: "a reason" });

describe("what is lost in all", () => {
  it("keeps all that is known, after what is added", () => {
    const known = { lost: [part(5)], doubtful: [doubt(6)], head: [{ fact: "a" }], doubtfulBytes: [doubt(7)] };
    const more = { lost: [part(1)], doubtful: [doubt(2)], head: [{ fact: "b" }], doubtfulBytes: [doubt(3)] };
    expect(rescueWith(known, more)).toEqual({
      lost: [part(1), part(5)],
      doubtful: [doubt(2), doubt(6)],
      head: [{ fact: "b" }, { fact: "a" }],
      doubtfulBytes: [doubt(3), doubt(7)],
    });
    expect(rescueWith(known, { lost: [] })).toEqual(known);
    expect(rescueWith(undefined, { lost: [part(1)] })).toEqual({ lost: [part(1)], doubtful: [] });
  });

  it("is said first", () => {
    const guest = withMoreLost({ warnings: ["an old one"] }, { lost: [part(1)] });
    expect(guest).toMatchObject({ rescue: { lost: [part(1)], doubtful: [] } });
    expect(guest.warnings).toEqual([
      expect.stringMatching(/^damaged: the bytes 0x1 to 0x2 \(1\)/),
      "an old one",
    ]);
  });
});
