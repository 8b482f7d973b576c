import type { Finding } from "guestscope";
import { nameOf } from "../sources/source.js";
import type { Action, Task } from "./task.js";

/**
 * good: what was asked for was done, and the input is sound; bad: it was checked and breaks its format; failed: it could
 * not be checked, or not be done.
 */
export type Status = "good" | "bad" | "failed";

/** A finding as results keep it. */
export type KeptFinding = Pick<Finding, "code" | "severity" | "message"> &
  Partial<Pick<Finding, "offset" | "spec">>;

/** What became of a task, before it is known to which one it belongs. */
export interface Outcome {
  readonly status: Status;
  /** Whose fault a failure is: the same input fails again, or the system may let it through next time. */
  readonly fault?: "input" | "system";
  /** One line for people. */
  readonly verdict: string;
  /** The input's format, where it is known. */
  readonly format?: string;
  readonly errors: number;
  readonly warnings: number;
  readonly notes: number;
  /** At most {@link KEPT_FINDINGS}. */
  readonly findings: readonly KeptFinding[];
  /** Findings that are only counted: code → how many. */
  readonly omitted: Readonly<Record<string, number>>;
  readonly output?: { readonly path: string; readonly size: number };
  /** What the program printed as JSON (extract, convert, ps). */
  readonly document?: unknown;
}

/** Findings of one input kept in full; the rest are counted. */
export const KEPT_FINDINGS = 1000;

/** What became of one input: one file of the report. */
export interface Result extends Outcome {
  readonly schemaVersion: 1;
  readonly kind: "fleet-result";
  readonly key: string;
  readonly action: Action;
  readonly source: string;
  /** Bytes; null when nobody told. */
  readonly size: number | null;
  /** Time of last change in nanoseconds since 1970, or the ETag, or null. */
  readonly state: string | null;
  /** Version of guestscope. */
  readonly version: string;
  readonly host: string;
  /** ISO 8601, UTC. */
  readonly began: string;
  readonly seconds: number;
}

/** An outcome without findings but the one that ended it. */
export function failure(code: string, message: string, fault: "input" | "system"): Outcome {
  return {
    status: "failed",
    fault,
    verdict: `failed: ${message}`,
    errors: 1,
    warnings: 0,
    notes: 0,
    findings: [{ code, severity: "error", message }],
    omitted: {},
  };
}

/** The result of a task. @param seconds how long it took */
export function resultOf(
  task: Task,
  outcome: Outcome,
  run: { host: string; began: Date; seconds: number },
): Result {
  const { source } = task;
  return {
    schemaVersion: 1,
    kind: "fleet-result",
    key: task.key,
    action: task.action,
    source: nameOf(source),
    size: source.size ?? null,
    state: source.kind === "file" ? source.mtime : (source.etag ?? source.modified ?? null),
    version: task.version,
    host: run.host,
    began: run.began.toISOString(),
    seconds: Math.round(run.seconds * 1000) / 1000,
    ...outcome,
  };
}

/** Codes of the errors of a result, each once; of a sound input none. */
export function errorCodes(outcome: Outcome): string[] {
  const codes = outcome.findings.filter(({ severity }) => severity === "error").map(({ code }) => code);
  return [...new Set(codes)];
}
