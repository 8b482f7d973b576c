import { errorCodes, type Result } from "../jobs/outcome.js";
import { PAGE_SCRIPT, PAGE_STYLE } from "./page.js";
import type { Summary } from "./summary.js";

/** Findings of one input in the page; the others are in the JSON. */
const FINDINGS = 5;
const FINDING_LENGTH = 300;

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** JSON for a script element: nothing in it may end the element. */
const embedded = (value: unknown): string => JSON.stringify(value).replaceAll("<", "\\u003c");

/** The page up to its rows. It is one file: styles and script are in it, and it loads nothing. */
export function htmlHead(summary: Summary, version: string, made: Date): string {
  const { counts, total } = summary;
  const share = (count: number): string => ((100 * count) / Math.max(1, total)).toFixed(3);
  const part = (status: keyof typeof counts): string =>
    `<div class="${status}" style="width:${share(counts[status])}%" title="${counts[status]} ${status}"></div>`;
  const legend = (status: keyof typeof counts): string =>
    `<span><i class="${status}"></i>${counts[status]} ${status}</span>`;
  const codes = summary.codes
    .map(
      ([code, count]) =>
        `<tr><td><button data-code="${escapeHtml(code)}">${escapeHtml(code)}</button></td><td class="n">${count}</td></tr>`,
    )
    .join("\n");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Saved guests: ${total} inputs</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<h1>Saved guests</h1>
<p>${total} inputs, checked by guestscope ${escapeHtml(version)}; report of ${made.toISOString()}</p>
<div class="bar" role="img" aria-label="${counts.good} good, ${counts.bad} bad, ${counts.failed} failed">${part("good")}${part("bad")}${part("failed")}</div>
<p class="legend">${legend("good")}${legend("bad")}${legend("failed")}</p>
${codes === "" ? "" : `<details open><summary>Inputs by finding</summary><table>${codes}</table></details>`}
<form id="filter"><input id="text" type="search" placeholder="filter: name, verdict, code" aria-label="filter">
<select id="status" aria-label="status"><option value="">all</option><option>good</option><option>bad</option><option>failed</option></select>
<output id="count"></output></form>
<table id="table"><thead><tr></tr></thead><tbody></tbody></table>
<button id="more" hidden>show more</button>
<noscript>The table needs JavaScript.</noscript>
<script type="application/json" id="rows">[
`;
}

/** One row, as JSON; rows are parted by `htmlRowSeparator`. */
export function htmlRow(result: Result): string {
  const findings = result.findings
    .filter(({ severity }) => severity !== "note")
    .slice(0, FINDINGS)
    .map(
      ({ severity, message, offset }) =>
        `${severity}${offset === undefined ? "" : ` at 0x${offset.toString(16)}`}: ${message.slice(0, FINDING_LENGTH)}`,
    );
  return embedded([
    result.source,
    result.action,
    result.status,
    result.verdict.slice(0, FINDING_LENGTH),
    errorCodes(result).slice(0, FINDINGS).join(" "),
    result.format ?? "",
    result.size,
    result.seconds,
    result.output?.path ?? "",
    findings,
  ]);
}

export const htmlRowSeparator = ",\n";

/** The page after its rows. */
export const htmlTail = `
]</script>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;
