import { describe, expect, it } from "vitest";
import { parseBlockMap } from "../../src/cli/block-map.js";
import { remedyText } from "../../src/cli/failure.js";
import { UsageError } from "../../src/findings/errors.js";

describe("--map", () => {
  it("is a block's name, the last @, and an address in C's notation", () => {
    expect(parseBlockMap(["n0@0", "a@b@0x1000"])).toEqual([
      { block: "n0", address: 0 },
      { block: "a@b", address: 0x1000 },
    ]);
  });

  it.each(["n0", "@1", "n0@", "n0@x", "n0@-4096", "n0@1.5"])("refuses %s", (text) => {
    expect(() => parseBlockMap([text])).toThrow(/BLOCK@ADDRESS/);
  });
});

describe("a remedy", () => {
  const textOf = (...remedy: ConstructorParameters<typeof UsageError>): string =>
    remedyText(new UsageError(...remedy));

  it("is printed as the flag of its option", () => {
    expect(textOf("exists", {}, { option: "force", effect: "replaces it" })).toBe("; --force replaces it");
    expect(textOf("none", {}, { option: "debugFile", value: "FILE" })).toBe("; --debug-file FILE");
    expect(textOf("none")).toBe("");
  });
});
