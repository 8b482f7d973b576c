import type { Severity } from "./rule.js";

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

/** A record, chunk or section of an input. */
export interface RecordRef {
  /** Layer or container that numbers its records: `libxl`, `libxc`, `legacy`, `qevm`. */
  readonly layer: string;
  /** Ordinal from 0 within that layer. */
  readonly index: number;
  readonly type: string;
}

/** Names a record: `libxc record 3 PAGE_DATA`. */
export function describeRecord(record: RecordRef): string {
  return `${record.layer} record ${record.index} ${record.type}`;
}
