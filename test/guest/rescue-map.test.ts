import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mapPicture, rescueMap } from "../../src/guest/rescue-map.js";

describe("the map of a rescue", () => {
  it("is one whole part without damage", () => {
    expect(rescueMap(100, undefined).parts).toEqual([{ offset: 0, length: 100, state: "whole" }]);
    expect(mapPicture(rescueMap(100, undefined), 10)).toBe("##########");
  });

  it("parts the input where it is lost, and doubts what one record proves", () => {
    const map = rescueMap(1000, {
      lost: [
        { start: 500, end: 510, proof: 1 },
        { start: 100, end: 200, proof: 4, what: "a batch" },
      ],
      doubtful: [],
    });
    expect(map.parts.map(({ offset, length, state }) => [offset, length, state])).toEqual([
      [0, 100, "whole"],
      [100, 100, "lost"],
      [200, 300, "whole"],
      [500, 10, "lost"],
      [510, 490, "doubtful"],
    ]);
    expect(map.parts[1]).toMatchObject({ what: "a batch", proof: 4 });
    expect(mapPicture(map, 10)).toBe("#.###.????");
  });

  it("covers all of the input once, whatever is lost", () => {
    const part = fc.record({
      start: fc.nat(1200),
      length: fc.nat(400),
      proof: fc.nat(5),
    });
    fc.assert(
      fc.property(fc.array(part), fc.integer({ min: 1, max: 80 }), (parts, width) => {
        const lost = parts.map(({ start, length, proof }) => ({ start, end: start + length, proof }));
        const map = rescueMap(1000, { lost, doubtful: [] });
        let at = 0;
        for (const { offset, length } of map.parts) {
          expect(offset).toBe(at);
          at += length;
        }
        expect(at).toBe(1000);
        expect(mapPicture(map, width)).toHaveLength(width);
      }),
    );
  });
});
