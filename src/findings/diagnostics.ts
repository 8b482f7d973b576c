import { FormatError, type Remedy } from "./errors.js";
import { describeRecord, type RecordRef } from "./finding.js";
import type { Rule } from "./rule.js";

/** Where in an input a problem is: bytes from its start, and the record there. */
export interface FindingPlace {
  readonly offset: number;
  readonly record?: RecordRef | undefined;
}

/** Receives what a decoder finds wrong with an input. */
export interface Diagnostics {
  /** Name of the input, for messages. */
  readonly source: string;
  /** Notes a problem; decoding goes on. */
  report(rule: Rule, place: FindingPlace, message: string): void;
  /** Ends decoding: what follows can't be read. @throws FormatError always */
  fatal(rule: Rule, place: FindingPlace, message: string): never;
}

/** The exception form of a rule at its place, for readers that can't go on. */
export function formatError(
  rule: Rule,
  source: string,
  place: FindingPlace,
  message: string,
  remedy?: Remedy,
): FormatError {
  const record =
    place.record === undefined ? {} : { record: describeRecord(place.record), recordRef: place.record };
  return new FormatError(rule, message, { source, offset: place.offset, ...record }, remedy);
}

/** What strict diagnostics do beside throwing the first error. */
export interface StrictOptions {
  /** Receives warnings and notes; without it they are dropped. */
  readonly onRemark?: (rule: Rule, place: FindingPlace, message: string) => void;
  /** What a user can do about an error. */
  readonly remedy?: Remedy;
}

/** Throws the first error; warnings and notes are dropped, or handed to `onRemark`. */
export class StrictDiagnostics implements Diagnostics {
  readonly source: string;
  readonly #options: StrictOptions;

  constructor(source: string, options: StrictOptions = {}) {
    this.source = source;
    this.#options = options;
  }

  report(rule: Rule, place: FindingPlace, message: string): void {
    if (rule.severity === "error") this.fatal(rule, place, message);
    this.#options.onRemark?.(rule, place, message);
  }

  fatal(rule: Rule, place: FindingPlace, message: string): never {
    throw formatError(rule, this.source, place, message, this.#options.remedy);
  }
}

/** Passes everything on at `offset` bytes further: for a format inside another. */
export class ShiftedDiagnostics implements Diagnostics {
  readonly source: string;
  readonly #target: Diagnostics;
  readonly #offset: number;

  constructor(target: Diagnostics, offset: number) {
    this.source = target.source;
    this.#target = target;
    this.#offset = offset;
  }

  report(rule: Rule, place: FindingPlace, message: string): void {
    this.#target.report(rule, { ...place, offset: place.offset + this.#offset }, message);
  }

  fatal(rule: Rule, place: FindingPlace, message: string): never {
    this.#target.fatal(rule, { ...place, offset: place.offset + this.#offset }, message);
  }
}

/**
 * Holds problems back until `commit()`: what is found in a part of the input that turns out not to count
 * (an unfinished checkpoint, a wrong guess of where records resume) is dropped by `rollback()`.
 */
export class TransactionalDiagnostics implements Diagnostics {
  readonly source: string;
  readonly #target: Diagnostics;
  #held: { readonly rule: Rule; readonly place: FindingPlace; readonly message: string }[] = [];

  constructor(target: Diagnostics) {
    this.source = target.source;
    this.#target = target;
  }

  report(rule: Rule, place: FindingPlace, message: string): void {
    this.#held.push({ rule, place, message });
  }

  fatal(rule: Rule, place: FindingPlace, message: string): never {
    throw formatError(rule, this.source, place, message);
  }

  /** Hands on what was held back, in order. */
  commit(): void {
    const held = this.#held;
    this.#held = [];
    for (const { rule, place, message } of held) this.#target.report(rule, place, message);
  }

  /** Drops what was held back. */
  rollback(): void {
    this.#held = [];
  }
}
