import {
  type Diagnostics,
  type FindingPlace,
  formatError,
  TransactionalDiagnostics,
} from "../../findings/diagnostics.js";
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

/**
 * Passes findings on; after a complete checkpoint an error ends reading, since what follows is dropped then. So the verdict
 * is that of a conversion.
 */
export class LaterCheckpointDiagnostics implements Diagnostics {
  readonly source: string;
  readonly #target: Diagnostics;
  readonly #hasCheckpoint: () => boolean;

  /** @param hasCheckpoint whether one is complete, and others may follow */
  constructor(target: Diagnostics, hasCheckpoint: () => boolean) {
    this.source = target.source;
    this.#target = target;
    this.#hasCheckpoint = hasCheckpoint;
  }

  report(rule: Rule, place: FindingPlace, message: string): void {
    if (rule.severity === "error" && this.#hasCheckpoint())
      throw formatError(rule, this.source, place, message);
    this.#target.report(rule, place, message);
  }

  fatal(rule: Rule, place: FindingPlace, message: string): never {
    throw formatError(rule, this.source, place, message);
  }
}
