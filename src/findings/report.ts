import { FormatError, type Place } from "../io/errors.js";
import { describeRecord, type Finding, type RecordRef, type Rule, type Severity } from "./finding.js";

/** Findings of one code kept in full; the rest are counted, so that a hostile file can't fill memory. */
const KEPT_PER_CODE = 100;

export interface FindingPlace {
  readonly offset: number;
  readonly record?: RecordRef | undefined;
}

/** Collects what a verification finds. */
export class Report {
  /** Name of the input. */
  readonly source: string;
  readonly findings: Finding[] = [];
  readonly #counts = new Map<string, number>();
  readonly #totals: Record<Severity, number> = { error: 0, warning: 0, note: 0 };
  readonly #strict: boolean;

  /** @param options.strict warnings count as errors. */
  constructor(source: string, options: { readonly strict?: boolean } = {}) {
    this.source = source;
    this.#strict = options.strict ?? false;
  }

  add(rule: Rule, place: FindingPlace, message: string): void {
    const severity = this.#strict && rule.severity === "warning" ? "error" : rule.severity;
    const count = (this.#counts.get(rule.code) ?? 0) + 1;
    this.#counts.set(rule.code, count);
    this.#totals[severity] += 1;
    if (count > KEPT_PER_CODE) return;
    this.findings.push({
      code: rule.code,
      severity,
      offset: place.offset,
      ...(place.record === undefined ? {} : { record: place.record }),
      message,
      spec: rule.spec,
    });
  }

  count(severity: Severity): number {
    return this.#totals[severity];
  }

  /** Codes of which more were found than kept: code → findings left out. */
  get omitted(): ReadonlyMap<string, number> {
    return new Map(
      [...this.#counts].filter(([, n]) => n > KEPT_PER_CODE).map(([code, n]) => [code, n - KEPT_PER_CODE]),
    );
  }

  get valid(): boolean {
    return this.#totals.error === 0;
  }

  /** `valid`, `valid with 2 warnings`, `invalid: 3 errors, 1 warning`. */
  get verdict(): string {
    const { error, warning } = this.#totals;
    const warnings = warning === 0 ? "" : plural(warning, "warning");
    if (error > 0) return `invalid: ${plural(error, "error")}${warnings === "" ? "" : `, ${warnings}`}`;
    return warnings === "" ? "valid" : `valid with ${warnings}`;
  }
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** The exception form of a rule: for readers that can't go on. */
export function violation(rule: Rule, source: string, place: FindingPlace, message: string): FormatError {
  const where: Place = {
    source,
    offset: place.offset,
    spec: rule.spec,
    ...(place.record === undefined ? {} : { record: describeRecord(place.record) }),
  };
  return new FormatError(rule.code, message, where);
}
