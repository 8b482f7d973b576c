import { describe, expect, it } from "vitest";
import { LAYOUTS, layoutMismatch, STATED_SIZES } from "../../src/open/layouts.js";
import { RULE_TABLES } from "../../src/open/rules.js";

const rules = RULE_TABLES.flatMap(([, table]) => table);

describe("findings", () => {
  it("have codes of their own, and say something", () => {
    const codes = rules.map(({ code }) => code);
    expect(codes.filter((code, i) => codes.indexOf(code) !== i)).toEqual([]);
    expect(rules.filter(({ spec, explanation }) => spec === "" || explanation.length < 20)).toEqual([]);
  });
});

describe("structures", () => {
  const all = Object.values(LAYOUTS).flat();

  it("have the sizes that the specifications state", () => {
    expect(all.flatMap((layout) => layoutMismatch(layout) ?? [])).toEqual([]);
    const names = new Set(all.map(({ name }) => name));
    expect(Object.keys(STATED_SIZES).filter((name) => !names.has(name))).toEqual([]);
  });

  it("a wrong size is noticed", () => {
    const [layout] = LAYOUTS.libxc ?? [];
    expect(layout).toBeDefined();
    if (layout === undefined) return;
    expect(layoutMismatch({ ...layout, size: layout.size + 1 })).toMatch(/bytes/);
    expect(layoutMismatch({ ...layout, fields: layout.fields.slice(1) })).toMatch(/bytes/);
  });
});
