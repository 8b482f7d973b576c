import type { LogCaller, LogRecord } from "./record.js";

/** How records are printed. */
export interface LogStyle {
  /** With the caller after the time: `[    T1]`. Default: for records of kernels that keep callers' names. */
  readonly caller?: boolean;
}

/**
 * A record as `dmesg` prints it, without a newline at its end: `[    0.000000] text`; further lines of the text are
 * indented as far as the first. Undefined for a record without a text block, which prints nothing.
 */
export function formatLogRecord(record: LogRecord, style: LogStyle = {}): string | undefined {
  if (record.empty === true) return undefined;
  const { tsNsec, caller, comm } = record;
  const time = tsNsec === undefined ? "" : `[${logTime(tsNsec)}] `;
  const withCaller = style.caller ?? comm !== undefined;
  const by = withCaller && caller !== undefined ? `[${callerName(caller).padStart(8)}] ` : "";
  const prefix = time + by;
  return prefix + record.text.replaceAll("\n", `\n${" ".repeat(prefix.length)}`);
}

/** Nanoseconds as the log prints them: seconds to the microsecond, cut, five places before the point. */
function logTime(tsNsec: bigint): string {
  const micros = tsNsec / 1000n;
  return `${String(micros / 1_000_000n).padStart(5)}.${String(micros % 1_000_000n).padStart(6, "0")}`;
}

/** `T1` for a task, `C0` for a CPU. */
export function callerName({ kind, id }: LogCaller): string {
  return `${kind === "task" ? "T" : "C"}${id}`;
}
