import type { ProcessFacts } from "../elf/process-facts.js";
import {
  AbsentError,
  describeError,
  FormatError,
  GuestscopeError,
  type Place,
  type Remedy,
} from "../findings/errors.js";

/** Exit statuses that every command keeps to. A signal gives 128 + its number. */
export const EXIT = {
  good: 0,
  badInput: 1,
  failure: 2,
  /** The reader of our output went away: as if SIGPIPE had ended us. */
  readerGone: 141,
} as const;

/** What a user can do about an error, as the flag of the command line. */
export interface RemedyData {
  readonly flag: string;
  readonly value?: string | undefined;
  readonly effect?: string | undefined;
  /** Another that helps as well. */
  readonly or?: RemedyData | undefined;
}

/** An error, for programs. */
export interface ErrorData {
  /** Stable: a rule's code, `usage`, `os/ENOENT`, `internal`. */
  readonly code: string;
  readonly message: string;
  readonly place: Place;
  readonly remedy?: RemedyData | undefined;
  /** What was tried and what else helps, a sentence each. */
  readonly hints?: readonly string[] | undefined;
  /** Exit status that stands for it. */
  readonly status: number;
}

/** The document of a command that failed. */
export interface ErrorDocument {
  readonly schemaVersion: 1;
  readonly kind: "error";
  readonly error: ErrorData;
  /** What is known all the same of a process whose debug information is missing (`inspect`). */
  readonly process?: ProcessFacts | undefined;
}

/** The exit status of an error. */
export function statusOf(error: unknown): number {
  if (!(error instanceof GuestscopeError)) return EXIT.failure;
  if (error.code === "os/EPIPE") return EXIT.readerGone;
  return error instanceof FormatError || error instanceof AbsentError ? EXIT.badInput : EXIT.failure;
}

function remedyData(remedy: Remedy | undefined): RemedyData | undefined {
  if (remedy === undefined) return undefined;
  const flag = `--${remedy.option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  const { value, effect, or } = remedy;
  return { flag, value, effect, ...(or === undefined ? {} : { or: remedyData(or) }) };
}

/** An error as data. @param status the exit status that stands for it in a command with statuses of its own */
export function errorData(error: unknown, status: number = statusOf(error)): ErrorData {
  if (error instanceof GuestscopeError) {
    const { code, message, place, hints } = error;
    return {
      code,
      message,
      place,
      remedy: remedyData(error.remedy),
      ...(hints.length === 0 ? {} : { hints }),
      status,
    };
  }
  return { code: "internal", message: String(error), place: {}, status };
}

/** The document that a failed command prints with `--json`. @param status as for `errorData` */
export function errorDocument(error: unknown, status?: number): ErrorDocument {
  return { schemaVersion: 1, kind: "error", error: errorData(error, status) };
}

/** A remedy and its alternatives, a clause each. */
function remedyClauses({ flag, value, effect, or }: RemedyData): string[] {
  const clause = [flag, value, effect].filter((part) => part !== undefined).join(" ");
  return or === undefined ? [clause] : [clause, ...remedyClauses(or)];
}

/**
 * What follows an error's message for people: `; --partial takes what is intact`, or a line each where there is more
 * than that to say; nothing when it names no way on.
 */
export function remedyText(error: GuestscopeError): string {
  const data = remedyData(error.remedy);
  const remedies = data === undefined ? [] : remedyClauses(data);
  if (error.hints.length > 0) return [...error.hints, ...remedies].map((hint) => `\n  ${hint}`).join("");
  return remedies.length === 0 ? "" : `; ${remedies.join(", or ")}`;
}

/** An error for people: one line with its hints, or for a bug of ours the trace that a report needs. */
export function failureText(error: unknown): string {
  if (error instanceof GuestscopeError) return `guestscope: ${describeError(error)}${remedyText(error)}`;
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `guestscope: internal error, please report it\n${trace}`;
}
