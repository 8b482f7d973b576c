/** Style of the report's page. */
export const PAGE_STYLE = `
:root { color-scheme: light dark; --good: #2e8b57; --bad: #c0392b; --failed: #b7791f; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem; }
h1 { font-size: 1.3rem; margin: 0; }
.bar { display: flex; height: 1.4rem; border-radius: 4px; overflow: hidden; background: #8884; }
.good { background: var(--good); } .bad { background: var(--bad); } .failed { background: var(--failed); }
.legend span { margin-right: 1.2rem; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px; }
table { border-collapse: collapse; }
#table { width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .6rem; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
th button, td button { all: unset; cursor: pointer; font-weight: inherit; }
td button { text-decoration: underline dotted; }
th button:focus-visible, td button:focus-visible { outline: 2px solid; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.status { white-space: nowrap; border-left: 4px solid transparent; background: none; }
td.status.good { border-color: var(--good); } td.status.bad { border-color: var(--bad); } td.status.failed { border-color: var(--failed); }
ul { margin: .2rem 0 0; padding-left: 1.1rem; font-size: .92em; }
#filter { margin: 1rem 0 .5rem; display: flex; gap: .6rem; align-items: center; }
#text { min-width: 20rem; }
@media print { #filter, #more { display: none; } }
`;

/** Script of the report's page: sorts and filters the rows, and shows a part of them. */
export const PAGE_SCRIPT = `
"use strict";
{
const rows = JSON.parse(document.getElementById("rows").textContent);
const titles = ["source", "action", "status", "verdict", "codes", "format", "size", "seconds", "output"];
const numeric = new Set([6, 7]);
const PART = 500;
const body = document.querySelector("#table tbody");
const head = document.querySelector("#table thead tr");
const text = document.getElementById("text");
const status = document.getElementById("status");
const count = document.getElementById("count");
const more = document.getElementById("more");
let order = 2, down = false, shown = PART, found = rows;
const search = rows.map((row) => row.flat().join(" ").toLowerCase());
const index = new Map(rows.map((row, i) => [row, i]));
function compare(a, b) {
  const x = a[order], y = b[order];
  const way = numeric.has(order) ? (x ?? -1) - (y ?? -1) : x < y ? -1 : x > y ? 1 : 0;
  return (down ? -way : way) || index.get(a) - index.get(b);
}
function update() {
  const words = text.value.toLowerCase().split(" ").filter((word) => word !== "");
  found = rows.filter((row, i) => (status.value === "" || row[2] === status.value) && words.every((word) => search[i].includes(word)));
  found.sort(compare);
  draw();
}
function draw() {
  body.replaceChildren(...found.slice(0, shown).map((row) => {
    const line = document.createElement("tr");
    titles.forEach((title, column) => {
      const cell = document.createElement("td");
      cell.textContent = row[column] ?? "";
      if (numeric.has(column)) cell.className = "n";
      if (column === 2) cell.className = "status " + row[2];
      if (column === 3 && row[9].length > 0) {
        const list = document.createElement("ul");
        for (const finding of row[9]) list.appendChild(document.createElement("li")).textContent = finding;
        cell.appendChild(list);
      }
      line.appendChild(cell);
    });
    return line;
  }));
  count.value = found.length + " of " + rows.length + " inputs";
  more.hidden = found.length <= shown;
  [...head.children].forEach((cell, column) => {
    cell.setAttribute("aria-sort", column !== order ? "none" : down ? "descending" : "ascending");
    cell.firstChild.textContent = titles[column] + (column !== order ? "" : down ? " \\u2193" : " \\u2191");
  });
}
titles.forEach((title, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", () => {
    down = column === order ? !down : false;
    order = column;
    update();
  });
  head.appendChild(document.createElement("th")).appendChild(button);
});
document.addEventListener("click", (event) => {
  const code = event.target.dataset?.code;
  if (code !== undefined) { text.value = code; update(); }
});
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
text.addEventListener("input", () => { shown = PART; update(); });
status.addEventListener("input", () => { shown = PART; update(); });
more.addEventListener("click", () => { shown += PART; draw(); });
update();
}
`;
