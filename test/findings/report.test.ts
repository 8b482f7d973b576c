import { describe, expect, it } from "vitest";
import { Report, rules, formatError } from "../../src/findings/index.js";
import { describeError, FormatError, UsageError } from "../../src/findings/errors.js";

const RULES = rules({
  bad: { code: "x/bad", severity: "error", spec: "S 1", explanation: "It is bad." },
  odd: { code: "x/odd", severity: "warning", spec: "S 2", explanation: "It is odd." },
});
const place = { offset: 0x10, record: { layer: "libxc", index: 3, type: "PAGE_DATA" } };

describe("Report", () => {
  it("sums up in one line", () => {
    const report = new Report("f");
    expect(report.verdict).toBe("valid");
    report.report(RULES.odd, place, "odd");
    expect(report.verdict).toBe("valid with 1 warning");
    report.report(RULES.bad, place, "bad");
    report.report(RULES.bad, place, "bad");
    expect(report.verdict).toBe("invalid: 2 errors, 1 warning");
    expect(report.valid).toBe(false);
  });

  it("strict makes errors of warnings", () => {
    const report = new Report("f", { strict: true });
    report.report(RULES.odd, place, "odd");
    expect(report.verdict).toBe("invalid: 1 error");
  });

  it("keeps a bounded number and counts the rest", () => {
    const report = new Report("f");
    for (let i = 0; i < 250; i += 1) report.report(RULES.bad, { offset: i }, "bad");
    expect(report.findings.length).toBe(100);
    expect(report.count("error")).toBe(250);
    expect(report.omitted.get("x/bad")).toBe(150);
  });
});

describe("errors", () => {
  it("are told in one line that names file, offset, record, rule and code", () => {
    const error = formatError(RULES.bad, "a.save", place, "count is zero");
    expect(error).toBeInstanceOf(FormatError);
    expect(describeError(error)).toBe(
      "a.save: offset 0x10, libxc record 3 PAGE_DATA: count is zero (S 1) [x/bad]",
    );
    expect(describeError(new UsageError("no such option"))).toBe("no such option");
  });
});
