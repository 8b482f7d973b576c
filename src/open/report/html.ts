import { fileNameOf } from "../../io/path-parts.js";
import { escapeHtml, html, type Markup, raw } from "./markup.js";
import { memoryPicture } from "./picture.js";
import { STYLE } from "./style.js";
import type { LinuxSummary, LogLines } from "../session/linux-protocol.js";
import type { FileParts, Findings, MemoryTable, Overview, Problem, Processor } from "../session/protocol.js";

/** All that a report shows; what could not be had is left out. */
export interface ReportContents {
  readonly overview: Overview;
  readonly memory?: MemoryTable;
  readonly findings?: Findings;
  readonly processors?: readonly Processor[];
  readonly parts?: FileParts;
  readonly linux?: LinuxSummary;
  readonly log?: LogLines;
}

/** Rows shown of each table: a report stays under a megabyte, whatever the input holds. */
const MOST_FINDINGS = 200;
const MOST_RUNS = 400;
const MOST_PROCESSORS = 32;
const MOST_LOG_LINES = 600;
const MOST_WARNINGS = 100;
const LONGEST_TEXT = 600;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${UNITS[unit] ?? ""}`;
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const cut = (text: string): string => (text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}…` : text);

function section(title: string, body: Markup): Markup {
  return html`<section><h2>${title}</h2>${body}</section>`;
}

function table(titles: readonly string[], rows: readonly (readonly (string | Markup)[])[]): Markup {
  return html`<table><thead><tr>${titles.map((title) => html`<th>${title}</th>`)}</tr></thead><tbody>${rows.map(
    (row) => html`<tr>${row.map((cell) => html`<td>${cell}</td>`)}</tr>`,
  )}</tbody></table>`;
}

function facts(rows: readonly { readonly key: string; readonly value: string }[]): Markup {
  return html`<dl>${rows.map(({ key, value }) => html`<dt>${titleOf(key)}</dt><dd>${cut(value)}</dd>`)}</dl>`;
}

/** `guestType` as `Guest type`. */
function titleOf(key: string): string {
  const words = key.replaceAll(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}

function problemRow({ severity, message, offset, code }: Problem): readonly (string | Markup)[] {
  const place = offset === undefined ? "" : hex(offset);
  return [
    html`<b class="${severity}">${severity}</b>`,
    cut(message),
    html`<code>${place}</code>`,
    html`<code>${code}</code>`,
  ];
}

function health({ overview, findings }: ReportContents): Markup {
  const opening = overview.problems;
  const found = findings?.findings ?? [];
  const errors = Math.max(
    findings?.errors ?? 0,
    opening.filter(({ severity }) => severity === "error").length,
  );
  const checked = findings !== undefined && findings.unsupported === undefined;
  const verdict =
    errors > 0
      ? `${errors} errors`
      : checked
        ? `No errors (${findings.verdict})`
        : "Not checked: no verifier of this format";
  const rows = [...opening, ...found];
  const more = rows.length - MOST_FINDINGS;
  return html`<p class="${errors > 0 ? "verdict error" : "verdict"}">${verdict}</p>${
    rows.length === 0
      ? raw("")
      : table(["", "What was seen", "Offset", "Code"], rows.slice(0, MOST_FINDINGS).map(problemRow))
  }${more > 0 ? html`<p>and ${String(more)} more</p>` : raw("")}`;
}

function memorySection(memory: MemoryTable): Markup {
  const rows: (readonly (string | Markup)[])[] = [];
  for (let i = 0; i < Math.min(memory.starts.length, MOST_RUNS); i += 1) {
    const kind = memory.legend[memory.kinds[i] ?? 0];
    const [start = 0, end = 0] = [memory.starts[i], memory.ends[i]];
    rows.push([
      html`<code>${hex(start)}</code>`,
      html`<code>${hex(end - 1)}</code>`,
      sizeText(end - start),
      kind?.unpopulated === true ? "not populated" : (kind?.presence ?? ""),
      cut(kind?.reason ?? ""),
    ]);
  }
  const more = memory.starts.length - MOST_RUNS;
  return section(
    "Physical memory",
    html`${memoryPicture(memory)}<details><summary>${String(memory.starts.length)} runs</summary>${table(
      ["From", "To", "Size", "", "Reason"],
      rows,
    )}${more > 0 ? html`<p>and ${String(more)} more</p>` : raw("")}</details>`,
  );
}

function processorSection(processors: readonly Processor[]): Markup {
  const shown = processors.slice(0, MOST_PROCESSORS).map(({ id, mode, caveat, groups }) => {
    const registers = groups
      .filter(({ name }) => name !== "debug" && name !== "msrs")
      .flatMap((group) =>
        group.registers.map(({ name, value, bits }) => ({
          name,
          text: value.toString(16).padStart(bits / 4, "0"),
        })),
      );
    return html`<h3>vCPU ${String(id)} <small>${mode ?? ""} ${caveat ?? ""}</small></h3><p class="registers">${registers.map(
      ({ name, text }) => html`<span><i>${name}</i> <code>${text}</code></span>`,
    )}</p>`;
  });
  const more = processors.length - MOST_PROCESSORS;
  return section("vCPUs", html`${shown}${more > 0 ? html`<p>and ${String(more)} more</p>` : raw("")}`);
}

/** Parts of the file by layer and name: how many, how many bytes. */
function partsSection({ parts }: FileParts): Markup {
  const rows = new Map<string, { layer: string; name: string; count: number; bytes: number }>();
  for (const { layer, name, start, end } of parts) {
    const key = `${layer} ${name}`;
    const row = rows.get(key) ?? { layer, name, count: 0, bytes: 0 };
    row.count += 1;
    row.bytes += end - start;
    if (rows.size < MOST_RUNS || rows.has(key)) rows.set(key, row);
  }
  return section(
    "The file",
    table(
      ["Layer", "Part", "Number", "Bytes"],
      Array.from(rows.values(), ({ layer, name, count, bytes }) => [
        cut(layer),
        cut(name),
        String(count),
        sizeText(bytes),
      ]),
    ),
  );
}

function linuxSection(linux: LinuxSummary): Markup {
  const cpus = linux.cpus.map(({ cpu, task = "", at = "" }) => [
    String(cpu),
    cut(task),
    html`<code>${cut(at)}</code>`,
  ]);
  return section(
    "Linux",
    html`${facts(linux.facts)}${cpus.length === 0 ? raw("") : table(["CPU", "Task", "At"], cpus)}`,
  );
}

function logSection({ lines }: LogLines): Markup {
  const last = lines.slice(-MOST_LOG_LINES);
  const text = last.map(({ time, text: line }) => {
    const stamp = time === undefined ? "" : `[${(time / 1e9).toFixed(6).padStart(12)}] `;
    return `${stamp}${cut(line)}`;
  });
  const title =
    lines.length > last.length ? `Kernel log, last ${last.length} of ${lines.length}` : "Kernel log";
  return html`<section><details><summary><h2>${title}</h2></summary><pre>${text.join("\n")}</pre></details></section>`;
}

/** A report on one input as a page that needs no script and no other file. */
export function htmlReport(contents: ReportContents): string {
  const { overview, memory, processors = [], parts, linux, log } = contents;
  const { identity, name, software, warnings } = overview;
  const title = name ?? fileNameOf(identity.name);
  const known = overview.memory;
  const summary = [
    { key: "file", value: identity.name },
    ...(identity.size === undefined ? [] : [{ key: "size", value: sizeText(identity.size) }]),
    { key: "kind", value: identity.title },
    ...(known === undefined
      ? []
      : [
          {
            key: "memory",
            value: `${sizeText(known.present + known.zero + known.absent)}: ${sizeText(known.present)} in the file, ${sizeText(known.zero)} known to be zero, ${sizeText(known.absent)} missing`,
          },
        ]),
    { key: "processors", value: String(overview.processors.length) },
    ...overview.facts.filter(({ key }) => key !== "origin"),
    ...software,
  ];
  const body = html`<header><p>guestscope</p><h1>${title}</h1></header>${section("Findings", health(contents))}${section(
    "Guest",
    facts(summary),
  )}${memory === undefined ? raw("") : memorySection(memory)}${linux === undefined ? raw("") : linuxSection(linux)}${
    processors.length === 0 ? raw("") : processorSection(processors)
  }${parts === undefined || parts.parts.length === 0 ? raw("") : partsSection(parts)}${
    warnings.length === 0
      ? raw("")
      : section(
          "Worth knowing",
          html`<ul>${warnings.slice(0, MOST_WARNINGS).map((one) => html`<li>${cut(one)}</li>`)}</ul>`,
        )
  }${log === undefined || log.lines.length === 0 ? raw("") : logSection(log)}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"><title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>${body.text}</body></html>
`;
}
