import type { RecordRef } from "./finding.js";
import type { Rule } from "./rule.js";

/** Where in an input something was found; every part is known or left out. */
export interface Place {
  /** Name of the input: a path, `-`, `fd 5`, `pid:123`. */
  readonly source?: string;
  /** Bytes from the start of the input. */
  readonly offset?: number;
  /** Ordinal of the record, chunk or section, as the format counts them, with its type's name. */
  readonly record?: string;
  /** The same as data, where the format numbers its records. */
  readonly recordRef?: RecordRef;
  /** Clause of the specification that is violated. */
  readonly spec?: string;
}

/** What a user can do about an error, as data: a front end puts it into its own words. */
export interface Remedy {
  /** Name of the option that helps, as the library spells it: `partial`, `map`, `force`. */
  readonly option: string;
  /** A value for it: one map entry, a file's path. */
  readonly value?: string;
  /** What the option does here, in a clause: `takes what is intact`. */
  readonly effect?: string;
  /** Another that helps as well. */
  readonly or?: Remedy;
}

/** Base of all errors that an input or its environment can cause. Nothing else is thrown on bad input. */
export abstract class GuestscopeError extends Error {
  /** Stable, hierarchical: `libxc/page-data/duplicate-pfn`. */
  readonly code: string;
  readonly place: Place;
  readonly remedy?: Remedy;
  /** What was tried and what else helps, a sentence each: a front end prints them a line each. */
  readonly hints: readonly string[];

  constructor(
    code: string,
    message: string,
    place: Place = {},
    remedy?: Remedy,
    hints: readonly string[] = [],
  ) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.place = place;
    if (remedy !== undefined) this.remedy = remedy;
    this.hints = hints;
  }
}

/** An error that a declared rule stands for. */
abstract class RuleError extends GuestscopeError {
  readonly rule: Rule;

  constructor(rule: Rule, message: string, place: Place = {}, remedy?: Remedy, hints?: readonly string[]) {
    super(rule.code, message, { spec: rule.spec, ...place }, remedy, hints);
    this.rule = rule;
  }
}

/** The input breaks a rule of its format and reading can't go on. */
export class FormatError extends RuleError {}

/** The input ends before a structure that it announced. */
export class TruncatedError extends FormatError {
  /** Bytes that the structure still lacked. */
  readonly missing: number;

  constructor(rule: Rule, message: string, missing: number, place: Place = {}, remedy?: Remedy) {
    super(rule, message, place, remedy);
    this.missing = missing;
  }
}

/** Data that the input should hold are not in it (never a licence to use zeros in their place). */
export class AbsentError extends RuleError {}

/** What was asked for can't be done: contradictory options, an existing output, an unknown name. */
export class UsageError extends GuestscopeError {
  constructor(message: string, place: Place = {}, remedy?: Remedy) {
    super("usage", message, place, remedy);
  }
}

/** The operating system refused: `code` is `os/<errno name>`. */
export class SystemError extends GuestscopeError {}

/** One line: `file: offset 0x10, record 3 PAGE_DATA: message (clause) [code]`. */
export function describeError(error: GuestscopeError): string {
  const { source, offset, record, spec } = error.place;
  const where = [
    ...(offset === undefined ? [] : [`offset 0x${offset.toString(16)}`]),
    ...(record === undefined ? [] : [record]),
  ].join(", ");
  const head = [source, where].filter((part) => part !== undefined && part !== "").join(": ");
  const tail = spec === undefined ? "" : ` (${spec})`;
  const code = error.code === "usage" ? "" : ` [${error.code}]`;
  return `${head === "" ? "" : `${head}: `}${error.message}${tail}${code}`;
}
