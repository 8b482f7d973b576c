import { type Diagnostics, type FindingPlace, TransactionalDiagnostics } from "../../findings/diagnostics.js";
import type { Rule } from "../../findings/rule.js";

/**
 * Throws errors at once and holds remarks back until the checkpoint that they belong to is complete: an incomplete one
 * is dropped together with them.
 */
export class CheckpointDiagnostics extends TransactionalDiagnostics {
  readonly #strict: boolean;
  readonly #tolerate: (rule: Rule) => boolean;

  /**
   * @param strict warnings throw too
   * @param tolerate rules that don't throw, whatever their severity
   */
  constructor(target: Diagnostics, strict: boolean, tolerate: (rule: Rule) => boolean = () => false) {
    super(target);
    this.#strict = strict;
    this.#tolerate = tolerate;
  }

  /** @throws FormatError for an error, and for a warning when strict */
  override report(rule: Rule, place: FindingPlace, message: string): void {
    const throws = rule.severity === "error" || (this.#strict && rule.severity === "warning");
    if (throws && !this.#tolerate(rule)) {
      this.fatal(rule, place, message);
    }
    super.report(rule, place, message);
  }
}
