import type { Outcome } from "./outcome.js";

/** Results of one checkout: `input | operation` → what it did. */
export type Results = ReadonlyMap<string, Outcome>;

export interface Difference {
  readonly group: string;
  readonly operation: string;
  /** What is there only before (`-`) or only after (`+`). */
  readonly lines: readonly string[];
}

/** The group of operations that did not end in time on one side. */
export const NOT_COMPARED = "timeouts (not compared)";

/** Groups of differences, in the order they are printed. */
const GROUPS = [
  "not run on both",
  NOT_COMPARED,
  "status",
  "findings",
  "files",
  "values lost",
  "values gained",
  "values under another key",
  "printed by drop-ins",
  "texts",
] as const;

/** All differences between two results. */
export function differencesBetween(
  before: Results,
  after: Results,
  options: { messages: boolean },
): Difference[] {
  const found: Difference[] = [];
  for (const operation of new Set([...before.keys(), ...after.keys()])) {
    const a = before.get(operation);
    const b = after.get(operation);
    const add = (group: (typeof GROUPS)[number], lines: readonly string[]): void => {
      if (lines.length > 0) found.push({ group, operation, lines });
    };
    if (a === undefined || b === undefined)
      add("not run on both", [a === undefined ? "+ only after" : "- only before"]);
    else if (a.status === "timeout" || b.status === "timeout")
      add(NOT_COMPARED, a.status === b.status ? [] : [`- ${a.status}`, `+ ${b.status}`]);
    else {
      add("status", single(String(a.status), String(b.status)));
      add("findings", signed(apart(a.findings, b.findings)));
      add("files", single(a.file ?? "no file asked for", b.file ?? "no file asked for"));
      const values = apart(a.values, b.values);
      add("values lost", signed({ lost: values.lost.map((value) => keyed(value, a.pairs)), gained: [] }));
      add("values gained", signed({ lost: [], gained: values.gained.map((value) => keyed(value, b.pairs)) }));
      if (values.lost.length + values.gained.length === 0)
        add("values under another key", signed(apart(a.pairs, b.pairs)));
      add("printed by drop-ins", signed(apart(byLine(a.printed), byLine(b.printed))));
      if (options.messages) add("texts", signed(apart(a.texts, b.texts)));
    }
  }
  return found;
}

const single = (a: string, b: string): string[] => (a === b ? [] : [`- ${a}`, `+ ${b}`]);

const byLine = (texts: readonly string[]): string[] => texts.flatMap((text) => text.split("\n"));

/** A value with a key it has, for looking it up. */
const keyed = (value: string, pairs: readonly string[]): string =>
  pairs.find((pair) => pair.endsWith(`=${value}`)) ?? value;

interface Apart {
  readonly lost: readonly string[];
  readonly gained: readonly string[];
}

/** What one list has more often than the other. */
function apart(before: readonly string[], after: readonly string[]): Apart {
  const counts = new Map<string, number>();
  for (const item of before) counts.set(item, (counts.get(item) ?? 0) - 1);
  for (const item of after) counts.set(item, (counts.get(item) ?? 0) + 1);
  const lost: string[] = [];
  const gained: string[] = [];
  for (const [item, count] of counts)
    if (count !== 0)
      (count < 0 ? lost : gained).push(Math.abs(count) === 1 ? item : `${item} (${Math.abs(count)} times)`);
  return { lost, gained };
}

const signed = ({ lost, gained }: Apart): string[] => [
  ...lost.map((line) => `- ${line}`),
  ...gained.map((line) => `+ ${line}`),
];

const SHOWN_OPERATIONS = 12;
const SHOWN_LINES = 6;
const SHOWN_COLUMNS = 200;

/** Differences grouped, with `limit`s on what is shown of each; `full` shows all. */
export function describeDifferences(differences: readonly Difference[], full: boolean): string[] {
  const text: string[] = [];
  for (const group of GROUPS) {
    const of = differences.filter((difference) => difference.group === group);
    if (of.length === 0) continue;
    text.push("", `${group}: ${of.length} operations`);
    // differences alike are told once
    const alike = new Map<string, Difference[]>();
    for (const difference of of) {
      const shown = full ? difference.lines : difference.lines.slice(0, SHOWN_LINES);
      const more = difference.lines.length - shown.length;
      const lines = shown.map((line) => `      ${full ? line : line.slice(0, SHOWN_COLUMNS)}`);
      const key = [...lines, ...(more > 0 ? [`      … ${more} more`] : [])].join("\n");
      alike.set(key, [...(alike.get(key) ?? []), difference]);
    }
    const sorted = [...alike].sort(([, a], [, b]) => b.length - a.length);
    for (const [lines, operations] of full ? sorted : sorted.slice(0, SHOWN_OPERATIONS)) {
      const names = operations.map(({ operation }) => operation);
      const shown = full ? names : names.slice(0, 3);
      text.push(
        `    ${shown.join("\n    ")}${names.length > shown.length ? `\n    … ${names.length - shown.length} more operations` : ""}`,
      );
      text.push(lines);
    }
    if (!full && sorted.length > SHOWN_OPERATIONS)
      text.push(`    … ${sorted.length - SHOWN_OPERATIONS} more kinds`);
  }
  return text;
}
