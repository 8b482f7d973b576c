/** error: the input breaks its format; warning: tolerated or suspicious; note: worth knowing, nothing wrong. */
export type Severity = "error" | "warning" | "note";

/** What a rule table states of one rule. */
export interface RuleDeclaration {
  /** Stable and hierarchical: `libxc/page-data/duplicate-pfn`. */
  readonly code: string;
  readonly severity: Severity;
  /** Specification and clause. */
  readonly spec: string;
  /** What is required and what to do about a violation, in a sentence or a few. */
  readonly explanation: string;
}

declare const declared: unique symbol;

/**
 * A rule of some format: what can be wrong with an input. Only `rules()` makes one, so that every problem that is
 * reported or thrown carries a rule of a table, which documentation and `explain` enumerate.
 */
export interface Rule extends RuleDeclaration {
  readonly [declared]: true;
}

/** The rules of one format or layer, by short names that keep call sites readable. */
export type RuleTable = Readonly<Record<string, Rule>>;

/** A rule table with its title, as documentation and `explain` list it. */
export interface RuleSection {
  readonly title: string;
  readonly rules: RuleTable;
}

/** Declares the rules of a format: `{ shortName: { code, severity, spec, explanation } }`. */
export function rules<Names extends string>(
  table: Readonly<Record<Names, RuleDeclaration>>,
): Readonly<Record<Names, Rule>> {
  return table as Readonly<Record<Names, Rule>>;
}
