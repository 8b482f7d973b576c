import type { LogLine, TaskRow } from "../../../src/open/session/linux-protocol.js";

/** Lines that one of two logs has and the other hasn't, in their order. */
export interface LogDifference {
  readonly onlyA: readonly LogLine[];
  readonly onlyB: readonly LogLine[];
}

const keyOf = ({ time, text }: LogLine): string => `${time ?? ""} ${text}`;

export function compareLogs(a: readonly LogLine[], b: readonly LogLine[]): LogDifference {
  const [inA, inB] = [new Set(a.map(keyOf)), new Set(b.map(keyOf))];
  return {
    onlyA: a.filter((line) => !inB.has(keyOf(line))),
    onlyB: b.filter((line) => !inA.has(keyOf(line))),
  };
}

export interface TaskDifference {
  readonly started: readonly TaskRow[];
  readonly ended: readonly TaskRow[];
  readonly altered: readonly { readonly a: TaskRow; readonly b: TaskRow }[];
}

/** A task is the same when its number and the time when it started are: numbers are used again. */
const taskKey = ({ pid, startTime, address }: TaskRow): string =>
  pid === 0 ? `idle ${address}` : `${pid} ${startTime ?? ""}`;

/** Tasks that are in one of two states of a guest only, and those that did something between them. */
export function compareTasks(a: readonly TaskRow[], b: readonly TaskRow[]): TaskDifference {
  const [inA, inB] = [a, b].map((rows) => new Map(rows.map((row) => [taskKey(row), row])));
  const altered = a.flatMap((row) => {
    const other = inB?.get(taskKey(row));
    const isSame =
      other === undefined ||
      (other.state === row.state &&
        other.comm === row.comm &&
        other.time === row.time &&
        other.rss === row.rss);
    return isSame ? [] : [{ a: row, b: other }];
  });
  return {
    started: b.filter((row) => inA?.has(taskKey(row)) !== true),
    ended: a.filter((row) => inB?.has(taskKey(row)) !== true),
    altered,
  };
}
