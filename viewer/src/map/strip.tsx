import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { hex, percent } from "../format.js";
import { bindKey } from "../state/keys.js";
import { go } from "../state/route.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { useDrawing, useSize } from "../ui/canvas.js";
import { addressAt, type Axis, unitOf } from "../../../src/open/picture/axis.js";
import { describeAddress, describeTable } from "./describe.js";
import { columnAddresses, paintContents, paintMarks, paintRuler, type Window } from "./paint.js";
import { css, paletteOf } from "../../../src/open/picture/palette.js";
import type { PageSamples } from "./samples.js";
import { shade } from "./shade.js";

const PAGE = 4096;
const WHOLE = 22;
const RULER = 26;
/** Share of the height that the picture of entropy has. */
const ENTROPY = 0.58;
const GAP = 10;
/** CSS pixels that one sampled page is wide in the picture of entropy. */
const BAR = 3;

export interface MapProps {
  readonly table: MemoryTable;
  readonly axis: Axis;
  readonly hidden: ReadonlySet<number>;
  readonly samples: PageSamples;
  readonly hits: Float64Array;
  readonly window: Window;
  readonly onWindow: (window: Window) => void;
}

/** A window of the axis within its bounds, at least a page wide. */
export function clampWindow(axis: Axis, from: number, to: number): Window {
  const width = Math.min(axis.width, Math.max(to - from, Math.min(axis.width, PAGE * 4)));
  const start = Math.min(Math.max(0, from), axis.width - width);
  return { from: start, to: start + width };
}

export function zoomWindow(axis: Axis, { from, to }: Window, factor: number, around: number): Window {
  const at = from + around * (to - from);
  const width = (to - from) * factor;
  return clampWindow(axis, at - around * width, at - around * width + width);
}

interface Pointer {
  readonly x: number;
  readonly y: number;
}

export function Strip(props: MapProps): JSX.Element {
  const { table, axis, hidden, samples, hits, window: view, onWindow } = props;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(box);
  const [pointer, setPointer] = useState<Pointer>();
  const [cursor, setCursor] = useState<number>();
  const [, setArrived] = useState(0);
  const drag = useRef<{ x: number; view: Window; moved: boolean; whole: boolean } | undefined>(undefined);
  const width = size?.width ?? 0;
  const latest = useRef(view);
  latest.current = view;

  const wanted = useMemo(
    () => columnAddresses(axis, view, Math.max(1, Math.floor(width / BAR))),
    [axis, view.from, view.to, width],
  );
  useEffect(() => {
    if (width === 0) return undefined;
    // not while the picture still moves
    const timer = setTimeout(() => {
      samples.want("strip", wanted, () => setArrived((n) => n + 1)).catch(() => undefined);
    }, 120);
    return () => clearTimeout(timer);
  }, [wanted, samples]);

  const laneOf = (height: number): number => Math.round((height - WHOLE - RULER - GAP) * ENTROPY);

  useDrawing(canvas, size, (context, { width: wide, height }) => {
    const look = { table, axis, theme: theme.value, hidden };
    const dark = theme.value === "dark";
    const palette = paletteOf(theme.value);
    context.clearRect(0, 0, wide, height);
    const all = { from: 0, to: axis.width };
    paintContents(context, look, all, { x: 0, y: 0, width: wide, height: WHOLE - 6 });
    // the part that is shown, on the picture of the whole
    const left = (view.from / axis.width) * wide;
    const right = Math.max(left + 2, (view.to / axis.width) * wide);
    context.fillStyle = dark ? "rgb(10 12 16 / 55%)" : "rgb(255 255 255 / 60%)";
    context.fillRect(0, 0, left, WHOLE - 6);
    context.fillRect(right, 0, wide - right, WHOLE - 6);
    context.strokeStyle = dark ? "#e6eaf0" : "#1c2430";
    context.strokeRect(Math.round(left) + 0.5, 0.5, Math.max(2, Math.round(right - left) - 1), WHOLE - 7);
    paintRuler(context, axis, view, { x: 0, y: WHOLE, width: wide, height: RULER - 4 }, theme.value);
    const lane = laneOf(height);
    const y = WHOLE + RULER;
    const tall = height - y - lane - GAP;
    paintContents(context, look, view, { x: 0, y, width: wide, height: tall });
    if (hits.length > 0) {
      paintMarks(context, axis, view, { x: 0, y, width: wide, height: tall }, hits, palette.hit);
    }
    const bottom = y + tall + GAP;
    context.fillStyle = css(palette.hole);
    context.fillRect(0, bottom, wide, lane);
    for (const [i, address] of wanted.entries()) {
      const sample = samples.at(address);
      if (sample === undefined) continue;
      const bar = Math.max(1, (sample.entropy / 255) * (lane - 2));
      context.fillStyle = css(shade(sample, theme.value));
      context.fillRect(i * BAR, bottom + lane - bar, BAR, bar);
    }
    const mark =
      cursor === undefined ? undefined : ((unitOf(axis, cursor) - view.from) / (view.to - view.from)) * wide;
    const at = pointer?.x ?? mark;
    if (at !== undefined && at >= 0 && at <= wide) {
      context.fillStyle = dark ? "rgb(255 255 255 / 70%)" : "rgb(20 26 34 / 70%)";
      context.fillRect(Math.round(at), y, 1, tall + GAP + lane);
    }
  });

  const unitAt = (x: number): number => view.from + (x / Math.max(1, width)) * (view.to - view.from);
  const zoom = (factor: number): void => {
    const now = latest.current;
    const mark = cursor === undefined ? 0.5 : (unitOf(axis, cursor) - now.from) / (now.to - now.from);
    onWindow(zoomWindow(axis, now, factor, mark >= 0 && mark <= 1 ? mark : 0.5));
  };
  const showBytes = (address: number): void =>
    go({ view: "hex", params: { space: "physical", at: hex(address - (address % 16)) } });

  useEffect(() => {
    const give = [
      bindKey("+", () => zoom(0.5)),
      bindKey("=", () => zoom(0.5)),
      bindKey("-", () => zoom(2)),
      bindKey("0", () => onWindow({ from: 0, to: axis.width })),
    ];
    return () => give.forEach((back) => back());
  });

  // preact adds wheel listeners as passive ones
  useEffect(() => {
    const element = canvas.current;
    if (element === null) return undefined;
    const onWheel = (event: WheelEvent): void => {
      event.preventDefault();
      const now = latest.current;
      const { left, width: wide } = element.getBoundingClientRect();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        const shift = (event.deltaX / wide) * (now.to - now.from);
        onWindow(clampWindow(axis, now.from + shift, now.to + shift));
        return;
      }
      const factor = Math.exp(Math.max(-200, Math.min(200, event.deltaY)) * 0.0022);
      onWindow(zoomWindow(axis, now, factor, (event.clientX - left) / wide));
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, [axis, onWindow]);

  const place = (event: PointerEvent): Pointer => {
    const { left, top } = canvas.current?.getBoundingClientRect() ?? { left: 0, top: 0 };
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const onDown = (event: PointerEvent): void => {
    const { x, y } = place(event);
    canvas.current?.setPointerCapture(event.pointerId);
    drag.current = { x, view, moved: false, whole: y < WHOLE };
    if (y < WHOLE) centre(x);
  };
  const centre = (x: number): void => {
    const half = (view.to - view.from) / 2;
    const unit = (x / Math.max(1, width)) * axis.width;
    onWindow(clampWindow(axis, unit - half, unit + half));
  };
  const onMove = (event: PointerEvent): void => {
    const at = place(event);
    setPointer(at);
    const held = drag.current;
    if (held === undefined) return;
    if (Math.abs(at.x - held.x) > 4) held.moved = true;
    if (held.whole) centre(at.x);
    else if (held.moved) {
      const shift = ((held.x - at.x) / Math.max(1, width)) * (held.view.to - held.view.from);
      onWindow(clampWindow(axis, held.view.from + shift, held.view.to + shift));
    }
  };
  const onUp = (event: PointerEvent): void => {
    const held = drag.current;
    drag.current = undefined;
    if (held === undefined || held.moved || held.whole) return;
    showBytes(addressAt(axis, unitAt(place(event).x)));
  };
  const onKey = (event: KeyboardEvent): void => {
    const step = ((view.to - view.from) / Math.max(1, width)) * (event.shiftKey ? 64 : 8);
    const from = cursor === undefined ? (view.from + view.to) / 2 : unitOf(axis, cursor);
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      const unit = Math.min(Math.max(0, from + (event.key === "ArrowLeft" ? -step : step)), axis.width - 1);
      const address = addressAt(axis, unit);
      setCursor(address - (address % PAGE));
      setPointer(undefined);
      if (unit < view.from || unit > view.to) {
        const half = (view.to - view.from) / 2;
        onWindow(clampWindow(axis, unit - half, unit + half));
      }
    } else if (event.key === "Home") onWindow(clampWindow(axis, 0, view.to - view.from));
    else if (event.key === "End") onWindow(clampWindow(axis, axis.width - (view.to - view.from), axis.width));
    else if (event.key === "Enter" && cursor !== undefined) showBytes(cursor);
  };

  const under = pointer === undefined ? cursor : addressAt(axis, unitAt(pointer.x));
  const sample = under === undefined ? undefined : samples.at(under);
  const stretch =
    under === undefined
      ? undefined
      : axis.stretches.find((one) => one.gap && under >= one.start && under < one.end);
  const what =
    under === undefined
      ? ""
      : stretch === undefined
        ? describeAddress(table, under)
        : texts.map.break(hex(stretch.start), hex(stretch.end - 1));
  return (
    <div class="strip">
      <div class="strip-canvas" ref={box}>
        <canvas
          ref={canvas}
          tabIndex={0}
          role="img"
          aria-label={texts.map.describe(describeTable(table))}
          onPointerDown={onDown}
          onPointerMove={onMove}
          onPointerUp={onUp}
          onPointerLeave={() => setPointer(undefined)}
          onKeyDown={onKey}
        />
        {size !== undefined && (
          <span class="lane-name" style={{ top: `${size.height - laneOf(size.height) + 5}px` }}>
            {texts.map.entropy}
          </span>
        )}
      </div>
      <p class="map-status" aria-live="polite">
        {under === undefined ? (
          <span class="quiet">{texts.map.hint}</span>
        ) : (
          <>
            <code>{hex(under - (under % PAGE))}</code> {what}
            {sample !== undefined && (
              <span class="quiet">
                {" · "}
                {texts.map.entropyOf(((sample.entropy / 255) * 8).toFixed(1), percent(sample.text, 255))}
              </span>
            )}
          </>
        )}
      </p>
    </div>
  );
}
