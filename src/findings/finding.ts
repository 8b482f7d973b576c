/** error: the input breaks its format; warning: tolerated or suspicious; note: worth knowing, nothing wrong. */
export type Severity = "error" | "warning" | "note";

/** What can be wrong with an input of some format: declared once, documented from here. */
export interface Rule {
  /** Stable and hierarchical: `libxc/page-data/duplicate-pfn`. */
  readonly code: string;
  readonly severity: Severity;
  /** Specification and clause. */
  readonly spec: string;
  /** What it means and what to do about it, in a sentence or a few. */
  readonly explanation: string;
}

/** One violation (or remark), at its place. */
export interface Finding {
  readonly code: string;
  readonly severity: Severity;
  /** Bytes from the start of the input. */
  readonly offset: number;
  /** Record it belongs to: ordinal within its layer and name. */
  readonly record?: RecordRef;
  readonly message: string;
  readonly spec: string;
}

export interface RecordRef {
  /** Layer or container that numbers its records: `libxl`, `libxc`, `legacy`, `qevm`. */
  readonly layer: string;
  /** Ordinal from 0 within that layer. */
  readonly index: number;
  readonly type: string;
}

/** `libxc record 3 PAGE_DATA`. */
export function describeRecord(record: RecordRef): string {
  return `${record.layer} record ${record.index} ${record.type}`;
}

/** Declares the rules of a format: `{ shortName: rule }` keeps call sites readable. */
export function rules<R extends Record<string, Rule>>(table: R): R {
  return table;
}
