import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { hex } from "../format.js";
import type { Theme } from "../../../src/open/picture/palette.js";
import { addressAt, type Axis, unitOf } from "../../../src/open/picture/axis.js";
import { bucketize } from "../../../src/open/picture/buckets.js";
import { css, kindColours, type Rgb, stackOrder } from "../../../src/open/picture/palette.js";

/** Part of the axis that is shown, in units. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

export interface StripLook {
  readonly table: MemoryTable;
  readonly axis: Axis;
  readonly theme: Theme;
  /** Kinds that the legend hides. */
  readonly hidden: ReadonlySet<number>;
}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** A share of less than this of a column is drawn as this, so that a lone page is seen. */
const LEAST = 0.06;

/** Contents of memory as columns: in each, kinds stacked by their shares. */
export function paintContents(
  context: CanvasRenderingContext2D,
  { table, axis, theme, hidden }: StripLook,
  { from, to }: Window,
  { x, y, width, height }: Box,
): void {
  const colours = kindColours(table.legend, theme).map(css);
  const order = stackOrder(table.legend);
  const hole = table.legend.length;
  context.fillStyle = colours[hole] ?? "";
  context.fillRect(x, y, width, height);
  const { shares, kinds, count } = bucketize(table, axis, from, to, width);
  let column = 0;
  while (column < count) {
    const base = column * kinds;
    const pure = order.find((kind) => (shares[base + kind] ?? 0) > 0.9999);
    if (pure !== undefined) {
      let end = column + 1;
      while (end < count && (shares[end * kinds + pure] ?? 0) > 0.9999) end += 1;
      if (!hidden.has(pure)) {
        context.fillStyle = colours[pure] ?? "";
        context.fillRect(x + column, y, end - column, height);
      }
      column = end;
      continue;
    }
    let bottom = y + height;
    for (const kind of order) {
      const share = shares[base + kind] ?? 0;
      if (share <= 0) continue;
      const tall = Math.max(share, LEAST) * height;
      const top = Math.max(y, bottom - tall);
      if (!hidden.has(kind)) {
        context.fillStyle = colours[kind] ?? "";
        context.fillRect(x + column, top, 1, bottom - top);
      }
      bottom = top;
    }
    column += 1;
  }
  paintBreaks(context, axis, { from, to }, { x, y, width, height }, theme);
}

/** Draws where the axis leaves out addresses. */
function paintBreaks(
  context: CanvasRenderingContext2D,
  axis: Axis,
  { from, to }: Window,
  { x, y, width, height }: Box,
  theme: Theme,
): void {
  const scale = width / (to - from);
  context.save();
  context.strokeStyle = theme === "dark" ? "#4b5360" : "#c3c9d1";
  context.lineWidth = 1;
  for (const { gap, at, width: units } of axis.stretches) {
    if (!gap || at + units < from || at > to) continue;
    const left = Math.max(x, x + (at - from) * scale);
    const right = Math.min(x + width, x + (at + units - from) * scale);
    context.save();
    context.beginPath();
    context.rect(left, y, right - left, height);
    context.clip();
    context.beginPath();
    for (let i = left - height; i < right; i += 6) {
      context.moveTo(i, y + height);
      context.lineTo(i + height, y);
    }
    context.stroke();
    context.restore();
  }
  context.restore();
}

const NICE_BITS = 52;

/** Distances between ticks: powers of two that leave room for a label. */
function tickDistance(bytesAPixel: number): number {
  const room = bytesAPixel * 110;
  for (let bit = 0; bit <= NICE_BITS; bit += 1) if (2 ** bit >= room) return 2 ** bit;
  return 2 ** NICE_BITS;
}

/** Addresses along the axis. */
export function paintRuler(
  context: CanvasRenderingContext2D,
  axis: Axis,
  { from, to }: Window,
  { x, y, width, height }: Box,
  theme: Theme,
  side: "above" | "below" = "above",
): void {
  const scale = width / (to - from);
  context.save();
  context.font = "11px ui-monospace, 'JetBrains Mono', 'DejaVu Sans Mono', monospace";
  context.fillStyle = theme === "dark" ? "#98a2b3" : "#5d6675";
  context.strokeStyle = theme === "dark" ? "#3a414d" : "#d5dae1";
  context.textBaseline = "middle";
  let free = x;
  for (const stretch of axis.stretches) {
    const end = stretch.at + stretch.width;
    if (stretch.gap || end < from || stretch.at > to) continue;
    const perUnit = (stretch.end - stretch.start) / stretch.width;
    const distance = tickDistance(((to - from) * perUnit) / width);
    const low = stretch.start + Math.max(0, from - stretch.at) * perUnit;
    const high = Math.min(stretch.end, stretch.start + (to - stretch.at) * perUnit);
    const first = Math.ceil(low / distance) * distance;
    const ticks = low === stretch.start && first !== low ? [low, first] : [first];
    for (let at = first + distance; at < high && ticks.length < 200; at += distance) ticks.push(at);
    for (const address of ticks) {
      if (address >= high) continue;
      const left = x + (stretch.at + (address - stretch.start) / perUnit - from) * scale;
      context.beginPath();
      context.moveTo(Math.round(left) + 0.5, side === "above" ? y + height - 5 : y);
      context.lineTo(Math.round(left) + 0.5, side === "above" ? y + height : y + 5);
      context.stroke();
      const label = hex(address);
      const wide = context.measureText(label).width;
      if (left < free || left + wide > x + width) continue;
      context.fillText(label, Math.round(left) + 1, y + height / 2 + (side === "above" ? -2 : 3));
      free = left + wide + 12;
    }
  }
  context.restore();
}

/** Marks single addresses: search hits, changed pages. */
export function paintMarks(
  context: CanvasRenderingContext2D,
  axis: Axis,
  { from, to }: Window,
  { x, y, width, height }: Box,
  addresses: Float64Array,
  colour: Rgb,
): void {
  const scale = width / (to - from);
  context.fillStyle = css(colour);
  let last = -1;
  for (const address of addresses) {
    const unit = unitOf(axis, address);
    if (unit < from || unit > to) continue;
    const left = Math.floor(x + (unit - from) * scale);
    if (left === last) continue;
    last = left;
    context.fillRect(left, y, 2, height);
  }
}

/** Addresses in the middle of each of `count` columns, NaN where the axis leaves out. */
export function columnAddresses(axis: Axis, { from, to }: Window, count: number): Float64Array {
  const addresses = new Float64Array(count);
  for (let i = 0; i < count; i += 1) addresses[i] = addressAt(axis, from + ((i + 0.5) / count) * (to - from));
  return addresses;
}
