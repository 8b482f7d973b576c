import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decide, parseRange } from "../../../src/cli/view/access.js";

const access = { token: "s3cret-token", port: 4711 };
const host = "127.0.0.1:4711";

describe("decide", () => {
  it("gives the path after the token, without query", () => {
    expect(decide(access, { host }, "/s3cret-token/assets/a.js?x")).toEqual({ path: "assets/a.js" });
    expect(decide(access, { host: "localhost:4711" }, "/s3cret-token/")).toEqual({ path: "" });
  });

  it.each([
    [{ host: "evil.example:4711" }, "/s3cret-token/", "host"],
    [{ host: "127.0.0.1:80" }, "/s3cret-token/", "host"],
    [{}, "/s3cret-token/", "host"],
    [{ host, origin: "http://evil.example" }, "/s3cret-token/", "origin"],
    [{ host, origin: "null" }, "/s3cret-token/", "origin"],
    [{ host, "sec-fetch-site": "cross-site" }, "/s3cret-token/", "site"],
    [{ host, "sec-fetch-site": "same-site" }, "/s3cret-token/", "site"],
    [{ host }, "/", "token"],
    [{ host }, "/s3cret-token", "token"],
    [{ host }, "/wrong/", "token"],
    [{ host }, "//s3cret-token/", "token"],
    [{ host }, "/s3cret-tokenx/", "token"],
  ])("refuses %j %s for its %s", (headers, url, why) => {
    expect(decide(access, headers, url)).toEqual({ refused: why });
  });
});

describe("parseRange", () => {
  it.each([
    [undefined, "whole"],
    ["bytes=0-0", { start: 0, end: 1 }],
    ["bytes=5-", { start: 5, end: 10 }],
    ["bytes=-3", { start: 7, end: 10 }],
    ["bytes=-30", { start: 0, end: 10 }],
    ["bytes=8-99", { start: 8, end: 10 }],
    ["bytes=10-", "unsatisfiable"],
    ["bytes=5-4", "unsatisfiable"],
    ["bytes=0-1,4-5", "whole"],
    ["pages=0-1", "whole"],
    ["bytes=-", "whole"],
  ])("reads %s of ten bytes as %j", (header, expected) => {
    expect(parseRange(header, 10)).toEqual(expected);
  });

  it("never leaves the file", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.nat(), (first, last, size) => {
        const range = parseRange(`bytes=${first}-${last}`, size);
        if (typeof range === "string") return;
        expect(range.start).toBeGreaterThanOrEqual(0);
        expect(range.end).toBeLessThanOrEqual(size);
        expect(range.start).toBeLessThan(range.end);
      }),
    );
  });
});
