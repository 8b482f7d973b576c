import { type Diagnostics, type FindingPlace, TransactionalDiagnostics } from "../../findings/diagnostics.js";
import type { Rule } from "../../findings/rule.js";

/**
 * Throws errors at once and holds remarks back until the checkpoint that they belong to is complete: an incomplete one
 * is dropped together with them.
 */
export class CheckpointDiagnostics extends TransactionalDiagnostics {
  readonly #strict: boolean;

  /** @param strict warnings throw too */
  constructor(target: Diagnostics, strict: boolean) {
    super(target);
    this.#strict = strict;
  }

  /** @throws FormatError for an error, and for a warning when strict */
  override report(rule: Rule, place: FindingPlace, message: string): void {
    if (rule.severity === "error" || (this.#strict && rule.severity === "warning")) {
      this.fatal(rule, place, message);
    }
    super.report(rule, place, message);
  }
}
