import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { itemText, jsonPieces, listBegin, listEnd } from "../../src/cli/json-text.js";

const pieced = (document: object): string => [...jsonPieces(document)].join("");

describe("the text of a JSON document in pieces", () => {
  it("is that of JSON.stringify, whatever the document", () => {
    fc.assert(
      fc.property(fc.object({ withSparseArray: false, withBigInt: false, maxDepth: 8 }), (document) => {
        expect(pieced(document)).toBe(JSON.stringify(document, null, 2));
      }),
    );
    const document = {
      a: [undefined, null, []],
      b: undefined,
      c: {},
      d: new Date(0),
      e: ["\n", [[[[[[1]]]]]]],
    };
    expect(pieced(document)).toBe(JSON.stringify(document, null, 2));
    expect(JSON.parse(pieced({ a: 255n, b: Uint8Array.of(1, 171), c: new Map([["x", 1n]]) }))).toEqual({
      a: "0xff",
      b: "01ab",
      c: { x: "0x1" },
    });
  });

  it("comes in more than one piece where it is long", () => {
    const document = { list: Array.from({ length: 20_000 }, (_, i) => ({ start: i, end: i + 1 })) };
    const pieces = [...jsonPieces(document)];
    expect(pieces.length).toBeGreaterThan(5);
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(100_000);
    expect(pieces.join("")).toBe(JSON.stringify(document, null, 2));
  });

  it("is the same where a list is written item by item", () => {
    fc.assert(
      fc.property(fc.array(fc.object({ withBigInt: false, maxDepth: 3 })), (list) => {
        const document = { kind: "x", list, count: list.length };
        const text = `${listBegin({ kind: "x" }, "list")}${list.map(itemText).join("")}${listEnd({ count: list.length }, list.length)}`;
        expect(text).toBe(JSON.stringify(document, null, 2));
      }),
    );
  });
});
