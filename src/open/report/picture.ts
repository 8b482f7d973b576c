import { addressAt, makeAxis } from "../picture/axis.js";
import { bucketize } from "../picture/buckets.js";
import { css, kindColours, stackOrder } from "../picture/palette.js";
import type { MemoryKind, MemoryTable } from "../session/protocol.js";
import { html, type Markup, raw } from "./markup.js";

const WIDTH = 1000;
const HEIGHT = 90;
const TICKS = 6;

/** A strip of addresses as SVG: rectangles of equal neighbours, and a ruler below. */
function stripOf(table: MemoryTable): string {
  const axis = makeAxis(table);
  const { shares, kinds } = bucketize(table, axis, 0, axis.width, WIDTH);
  const colours = kindColours(table.legend, "light").map(css);
  const order = stackOrder(table.legend);
  const rectangles: string[] = [];
  for (const kind of order) {
    let column = 0;
    while (column < WIDTH) {
      const box = boxOf(shares, kinds, order, column, kind);
      let end = column + 1;
      while (end < WIDTH && isSame(box, boxOf(shares, kinds, order, end, kind))) end += 1;
      if (box.height > 0) {
        rectangles.push(
          `<rect x="${column}" y="${box.top}" width="${end - column}" height="${box.height}" fill="${colours[kind] ?? ""}"/>`,
        );
      }
      column = end;
    }
  }
  const ticks = Array.from({ length: TICKS }, (_, i) => {
    const address = addressAt(axis, (i / TICKS) * axis.width);
    return `<text x="${Math.round((i / TICKS) * WIDTH)}" y="${HEIGHT + 16}">0x${address.toString(16)}</text>`;
  });
  const ground = `<rect width="${WIDTH}" height="${HEIGHT}" fill="${colours[colours.length - 1] ?? ""}"/>`;
  return `${ground}${rectangles.join("")}${ticks.join("")}`;
}

const KINDS = { present: "in the file", zero: "zero", absent: "not in the file" } as const;

/** What a kind of memory is called, and how much there is of it. */
function entryOf({ presence, reason = "", unpopulated, bytes }: MemoryKind): {
  readonly name: string;
  readonly size: string;
} {
  const kind = unpopulated === true ? "not populated" : KINDS[presence];
  return { name: reason === "" ? kind : `${kind}: ${reason}`, size: `${(bytes / 2 ** 20).toFixed(1)} MiB` };
}

const LINE = 18;

/** The memory as a strip of addresses with its legend: an SVG file of its own. */
export function memorySvg(table: MemoryTable): string {
  const colours = kindColours(table.legend, "light").map(css);
  const legend = stackOrder(table.legend).flatMap((kind, i) => {
    const entry = table.legend[kind];
    if (entry === undefined) return [];
    const { name, size } = entryOf(entry);
    const y = HEIGHT + 40 + i * LINE;
    return html`<rect x="0" y="${String(y - 9)}" width="10" height="10" rx="2" fill="${colours[kind] ?? ""}"/><text x="16" y="${String(y)}">${name}, ${size}</text>`
      .text;
  });
  const height = HEIGHT + 40 + legend.length * LINE;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}">`,
    "<style>text{font:11px ui-monospace,Menlo,monospace;fill:#566171}</style>",
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>${stripOf(table)}${legend.join("")}</svg>\n`,
  ].join("");
}

/** The memory as a strip of addresses, drawn as SVG, with its legend. Equal neighbours are one rectangle. */
export function memoryPicture(table: MemoryTable): Markup {
  const colours = kindColours(table.legend, "light").map(css);
  const legend = stackOrder(table.legend).map((kind) => {
    const entry = table.legend[kind];
    if (entry === undefined) return "";
    const { name, size } = entryOf(entry);
    return html`<li><svg viewBox="0 0 10 10"><rect width="10" height="10" rx="2" fill="${colours[kind] ?? ""}"/></svg>${name} <small>${size}</small></li>`;
  });
  return html`<svg class="map" viewBox="0 0 ${String(WIDTH)} ${String(HEIGHT + 20)}" role="img" aria-label="Physical memory">${raw(stripOf(table))}</svg><ul class="legend">${legend}</ul>`;
}

interface Box {
  readonly top: number;
  readonly height: number;
}

const isSame = (a: Box, b: Box): boolean => a.top === b.top && a.height === b.height;

/** Where a kind is in a column: above the kinds before it. In whole units, so that columns join. */
function boxOf(
  shares: Float32Array,
  kinds: number,
  order: readonly number[],
  column: number,
  kind: number,
): Box {
  let below = 0;
  for (const one of order) {
    const share = shares[column * kinds + one] ?? 0;
    if (one === kind) {
      const bottom = Math.round(HEIGHT - below * HEIGHT);
      const top = Math.round(HEIGHT - (below + share) * HEIGHT);
      return { top, height: bottom - top };
    }
    below += share;
  }
  return { top: 0, height: 0 };
}
