import type { Rule } from "../../findings/finding.js";
import { type FindingPlace, type Report, violation } from "../../findings/report.js";

/** Errors throw; warnings wait for the checkpoint they belong to, since it may be dropped whole. */
export class Problems {
  readonly report: Report;
  readonly #strict: boolean;
  #waiting: { rule: Rule; place: FindingPlace; message: string }[] = [];

  constructor(report: Report, strict: boolean) {
    this.report = report;
    this.#strict = strict;
  }

  readonly add = (rule: Rule, place: FindingPlace, message: string): void => {
    if (rule.severity === "error" || (this.#strict && rule.severity === "warning")) {
      throw violation(rule, this.report.source, place, message);
    }
    this.#waiting.push({ rule, place, message });
  };

  commit(): void {
    for (const { rule, place, message } of this.#waiting) this.report.add(rule, place, message);
    this.#waiting = [];
  }

  drop(): void {
    this.#waiting = [];
  }
}
