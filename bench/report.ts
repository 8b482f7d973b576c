import { barOf, type Figure, isMet, type Section, valueOf, withUnit } from "./figures.js";

/** Where and when a section's figures were measured. */
export interface Circumstances {
  /** Of the bench, one sentence. */
  readonly title: string;
  readonly date: string;
  readonly machine: string;
  readonly node: string;
  /** Versions of the peers, as they say them. */
  readonly peers: readonly string[];
}

const INTRODUCTION = `# Performance

\`npm run bench -- --report\` writes this page: \`npm run bench -- --report NAME…\` measures the named sections anew and
leaves the others; without \`--report\` figures are only printed.

A speed is a ratio against a program that does comparable work on the same files, run by turns with ours on the same machine:
2 × means that ours took half its time. Starting Node is always part of ours. The figure is the median of the runs, and
the spread their least and most. Memory is what one process had resident at most (VmHWM), the largest of its runs.
*Before* is the same figure at the time when work on it began. What is below its bar is named under the table, with what was measured as
the reason.
`;

const HEADING = /^## (\S+)$/;

/** The sections of a page that was written before, by name. */
export function sectionsOf(page: string): Map<string, string> {
  const sections = new Map<string, string>();
  let name: string | undefined;
  let lines: string[] = [];
  const keep = (): void => {
    if (name !== undefined) sections.set(name, `${lines.join("\n").trim()}\n`);
    lines = [];
  };
  for (const line of page.split("\n")) {
    const [, found] = HEADING.exec(line) ?? [];
    if (found !== undefined) {
      keep();
      name = found;
    }
    lines.push(line);
  }
  keep();
  return sections;
}

/** The page: introduction, then a section for each of `names` that was measured now or before. */
export function page(names: readonly string[], sections: ReadonlyMap<string, string>): string {
  return [INTRODUCTION, ...names.flatMap((name) => sections.get(name) ?? [])].join("\n");
}

/** One bench's figures as a section of the page. */
export function sectionText({ name, figures, missing }: Section, around: Circumstances): string {
  const blocks = [
    `## ${name}`,
    around.title,
    `Measured on ${around.date}: ${around.machine}; Node ${around.node}${around.peers.map((peer) => `; ${peer}`).join("")}.`,
  ];
  if (figures.length > 0) blocks.push(table(figures));
  const short = figures.filter((figure) => isMet(figure) === false);
  if (short.length > 0)
    blocks.push(
      "Below the bar:",
      short.map((figure) => `- ${figure.name}: ${figure.limit ?? "why is not known yet"}`).join("\n"),
    );
  if (missing.length > 0)
    blocks.push(
      "Not measured on this machine:",
      missing.map(({ name: what, wants }) => `- ${what}: wants ${wants}`).join("\n"),
    );
  return `${blocks.join("\n\n")}\n`;
}

function table(figures: readonly Figure[]): string {
  const isBefore = figures.some(({ before }) => before !== undefined);
  const head = ["", "against", "figure", "spread", "runs", "bar", ...(isBefore ? ["before"] : [])];
  const rows = figures.map((figure) => {
    const { name, peer = "", values, unit, before } = figure;
    const met = isMet(figure);
    const spread =
      values.length < 2
        ? ""
        : `${withUnit(Math.min(...values), unit)} – ${withUnit(Math.max(...values), unit)}`;
    const bar = met === undefined ? "" : `${barOf(figure)}, ${met ? "met" : "**below**"}`;
    const row = [name, peer, withUnit(valueOf(figure), unit), spread, `${values.length}`, bar];
    return isBefore ? [...row, before === undefined ? "" : withUnit(before, unit)] : row;
  });
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
