import type { Diagnostics, FindingPlace } from "./diagnostics.js";
import { formatError } from "./diagnostics.js";
import type { FormatError } from "./errors.js";
import type { Finding } from "./finding.js";
import type { Rule, Severity } from "./rule.js";

/** Findings of one code kept in full; the rest are counted, so that a hostile file can't fill memory. */
const KEPT_PER_CODE = 100;

/** Collects what a verification finds. */
export class Report implements Diagnostics {
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

  report(rule: Rule, place: FindingPlace, message: string): void {
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

  fatal(rule: Rule, place: FindingPlace, message: string): never {
    throw formatError(rule, this.source, place, message);
  }

  /** Notes the error that ended decoding, at its place. */
  addError(error: FormatError): void {
    const { offset = 0, recordRef: record } = error.place;
    this.report(error.rule, { offset, record }, error.message);
  }

  /** Findings of a severity, those beyond what is kept included. */
  count(severity: Severity): number {
    return this.#totals[severity];
  }

  /** Codes of which more were found than kept: code → findings left out. */
  get omitted(): ReadonlyMap<string, number> {
    return new Map(
      [...this.#counts].filter(([, n]) => n > KEPT_PER_CODE).map(([code, n]) => [code, n - KEPT_PER_CODE]),
    );
  }

  /** True: no error was found. */
  get valid(): boolean {
    return this.#totals.error === 0;
  }

  /** `valid`, `valid with 2 warnings`, `invalid: 3 errors, 1 warning`. */
  get verdict(): string {
    const { error, warning } = this.#totals;
    const warnings = warning === 0 ? "" : counted(warning, "warning");
    if (error > 0) return `invalid: ${counted(error, "error")}${warnings === "" ? "" : `, ${warnings}`}`;
    return warnings === "" ? "valid" : `valid with ${warnings}`;
  }
}

/** A count with its noun, in the plural where it must be: `1 page`, `2 pages`. */
function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
