import { describe, expect, it } from "vitest";
import { type Figure, isMet, median, valueOf, withUnit } from "../../bench/figures.js";
import { page, sectionsOf, sectionText } from "../../bench/report.js";

const around = {
  title: "Dumps written.",
  date: "2026-01-02",
  machine: "2 cores (A Processor), 8 GiB of memory, Linux 6.1",
  node: "v20.1.0",
  peers: ["dd (coreutils) 9.1"],
};

const ratio: Figure = {
  name: "copy",
  values: [0.7, 0.9, 0.8],
  unit: "×",
  peer: "dd",
  least: 0.9,
  before: 0.5,
};

describe("a figure", () => {
  it("is the median of its runs, and of memory the largest", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(valueOf(ratio)).toBe(0.8);
    expect(valueOf({ name: "memory", values: [140, 151, 149], unit: "MiB" })).toBe(151);
  });

  it("keeps its bar or not, from below and from above, or has none", () => {
    expect(isMet(ratio)).toBe(false);
    expect(isMet({ ...ratio, least: 0.8 })).toBe(true);
    expect(isMet({ name: "memory", values: [140, 151], unit: "MiB", most: 150 })).toBe(false);
    expect(isMet({ name: "time", values: [1], unit: "s" })).toBeUndefined();
  });

  it("has the digits that mean something", () => {
    expect([0.1234, 12.34].map((value) => withUnit(value, "×"))).toEqual(["0.12 ×", "12.3 ×"]);
    expect(withUnit(149.6, "MiB")).toBe("150 MiB");
    expect(withUnit(200_000, "/s")).toBe("200000/s");
  });
});

describe("a section of the report", () => {
  it("names machine, versions and date, a row a figure, and what is below its bar with the reason", () => {
    const text = sectionText(
      {
        name: "copies",
        figures: [{ ...ratio, limit: "the pool costs 0.1 s" }],
        missing: [{ name: "another", wants: "gdb" }],
      },
      around,
    );
    expect(text).toContain("## copies\n\nDumps written.\n\nMeasured on 2026-01-02: 2 cores (A Processor)");
    expect(text).toContain("Node v20.1.0; dd (coreutils) 9.1.");
    expect(text).toContain("| copy | dd | 0.80 × | 0.70 × – 0.90 × | 3 | ≥ 0.9 ×, **below** | 0.50 × |");
    expect(text).toContain("- copy: the pool costs 0.1 s");
    expect(text).toContain("Not measured on this machine:\n\n- another: wants gdb");
  });

  it("has no reason for what keeps its bar", () => {
    const figures = [{ ...ratio, least: 0.8, limit: "the pool costs 0.1 s" }];
    const text = sectionText({ name: "copies", figures, missing: [] }, around);
    expect(text).toContain("≥ 0.8 ×, met");
    expect(text).not.toContain("the pool costs");
  });
});

describe("the report", () => {
  it("keeps the sections that were not measured anew, and drops those of benches that are gone", () => {
    const before = page(
      ["first", "gone", "second"],
      new Map([
        ["first", "## first\n\nold\n"],
        ["gone", "## gone\n\nold\n"],
        ["second", "## second\n\nold\n\n### below\n\nit\n"],
      ]),
    );
    const sections = sectionsOf(before);
    expect([...sections.keys()]).toEqual(["first", "gone", "second"]);
    sections.set("first", "## first\n\nnew\n");
    const after = page(["first", "second"], sections);
    expect(after).toContain("## first\n\nnew\n");
    expect(after).toContain("## second\n\nold\n\n### below\n\nit\n");
    expect(after).not.toContain("gone");
    expect(page(["first", "second"], sectionsOf(after))).toBe(after);
  });
});
