import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { hex } from "../format.js";
import { bindKey } from "../state/keys.js";
import { go } from "../state/route.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { useDrawing, useSize } from "../ui/canvas.js";
import { addressAt, unitOf } from "../../../src/open/picture/axis.js";
import { bucketize } from "../../../src/open/picture/buckets.js";
import { describeAddress, describeTable } from "./describe.js";
import { hilbertPoint, hilbertStep } from "./hilbert.js";
import { css, kindColours, paletteOf } from "../../../src/open/picture/palette.js";
import { columnAddresses } from "./paint.js";
import type { Sample } from "./samples.js";
import { shade } from "./shade.js";
import type { MapProps } from "./strip.js";

/** The square has 2^ORDER cells a side. */
const ORDER = 8;
const SIDE = 2 ** ORDER;
const CELLS = SIDE * SIDE;
const DEEPEST = 18;
/** Pages whose contents are looked at for one picture. */
const LOOKS = 2 ** 13;
const PAGE = 4096;

/** A square of the whole: the `index`th of 4^depth along the curve. */
interface Quarter {
  readonly depth: number;
  readonly index: number;
}

/** The smallest square of the curve that holds a window of the axis. */
function quarterOf(width: number, from: number, to: number): Quarter {
  for (let depth = DEEPEST; depth > 0; depth -= 1) {
    const part = width / 4 ** depth;
    const index = Math.floor(from / part + 1e-9);
    if (to <= (index + 1) * part * (1 + 1e-12)) return { depth, index };
  }
  return { depth: 0, index: 0 };
}

/** Cell → place in the square, for a square of the whole. */
function cellPlaces({ depth, index }: Quarter): Uint32Array {
  const side = SIDE * 2 ** depth;
  const origin = hilbertPoint(2 ** depth, index);
  const places = new Uint32Array(CELLS);
  for (let cell = 0; cell < CELLS; cell += 1) {
    const { x, y } = hilbertPoint(side, index * CELLS + cell);
    places[cell] = (y - origin.y * SIDE) * SIDE + (x - origin.x * SIDE);
  }
  return places;
}

export function Square(props: MapProps & { readonly contents: boolean }): JSX.Element {
  const { table, axis, hidden, hits, samples, contents, window: view, onWindow } = props;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(box);
  const [cell, setCell] = useState<{ readonly x: number; readonly y: number }>();
  const quarter = useMemo(() => quarterOf(axis.width, view.from, view.to), [axis, view.from, view.to]);
  const part = axis.width / 4 ** quarter.depth;
  const from = quarter.index * part;
  const places = useMemo(() => cellPlaces(quarter), [quarter]);

  const [arrived, setArrived] = useState(0);
  const wanted = useMemo(() => columnAddresses(axis, { from, to: from + part }, LOOKS), [axis, from, part]);
  useEffect(() => {
    if (!contents) return;
    samples.want("square", wanted, () => setArrived((n) => n + 1)).catch(() => undefined);
  }, [contents, samples, wanted]);

  const picture = useMemo(() => {
    const colours = kindColours(table.legend, theme.value);
    const hole = colours[colours.length - 1] ?? [0, 0, 0];
    const { shares, kinds } = bucketize(table, axis, from, from + part, CELLS);
    const waiting = paletteOf(theme.value).unpopulated;
    const lookAt = (look: number): Sample | undefined => samples.at(wanted[look] ?? 0);
    const found = table.legend.findIndex(({ presence }) => presence === "present");
    const present = found === -1 || hidden.has(found) ? undefined : found;
    const image = new ImageData(SIDE, SIDE);
    for (let i = 0; i < CELLS; i += 1) {
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let kind = 0; kind < kinds; kind += 1) {
        const share = shares[i * kinds + kind] ?? 0;
        if (share === 0) continue;
        const colour = hidden.has(kind) ? hole : (colours[kind] ?? hole);
        red += share * colour[0];
        green += share * colour[1];
        blue += share * colour[2];
      }
      const look = Math.floor((i / CELLS) * LOOKS);
      const sample = contents ? (lookAt(look) ?? lookAt(look - (look % 16))) : undefined;
      const there = present === undefined ? 0 : (shares[i * kinds + present] ?? 0);
      // contents only where there are any in most of the cell
      const colour =
        !contents || there < 0.5
          ? [red, green, blue]
          : sample === undefined
            ? waiting
            : shade(sample, theme.value);
      image.data.set([...colour, 255], (places[i] ?? 0) * 4);
    }
    const [red, green, blue] = paletteOf(theme.value).hit;
    for (const address of hits) {
      const step = Math.floor(((unitOf(axis, address) - from) / part) * CELLS);
      if (step >= 0 && step < CELLS) image.data.set([red, green, blue, 255], (places[step] ?? 0) * 4);
    }
    const copy = document.createElement("canvas");
    copy.width = SIDE;
    copy.height = SIDE;
    copy.getContext("2d")?.putImageData(image, 0, 0);
    return copy;
  }, [table, axis, from, part, places, hidden, hits, contents, arrived, theme.value]);

  useDrawing(canvas, size, (context, { width, height }) => {
    context.imageSmoothingEnabled = false;
    context.fillStyle = css(paletteOf(theme.value).hole);
    context.fillRect(0, 0, width, height);
    context.drawImage(picture, 0, 0, width, height);
    if (cell === undefined) return;
    const one = width / SIDE;
    context.strokeStyle = theme.value === "dark" ? "#fff" : "#10151c";
    context.lineWidth = 1.5;
    context.strokeRect(cell.x * one - 1, cell.y * one - 1, one + 2, one + 2);
  });

  const stepAt = ({ x, y }: { x: number; y: number }): number => {
    const origin = hilbertPoint(2 ** quarter.depth, quarter.index);
    const side = SIDE * 2 ** quarter.depth;
    return hilbertStep(side, origin.x * SIDE + x, origin.y * SIDE + y) - quarter.index * CELLS;
  };
  const addressOf = (place: { x: number; y: number }): number =>
    addressAt(axis, from + ((stepAt(place) + 0.5) / CELLS) * part);
  const zoomTo = (next: Quarter): void => {
    const width = axis.width / 4 ** next.depth;
    onWindow({ from: next.index * width, to: (next.index + 1) * width });
  };
  const zoomIn = (place: { x: number; y: number } | undefined): void => {
    if (quarter.depth >= DEEPEST || part <= PAGE * 64) return;
    const step = place === undefined ? 0 : stepAt(place);
    zoomTo({ depth: quarter.depth + 1, index: quarter.index * 4 + Math.floor(step / (CELLS / 4)) });
  };
  const zoomOut = (): void => {
    if (quarter.depth > 0) zoomTo({ depth: quarter.depth - 1, index: Math.floor(quarter.index / 4) });
  };
  const place = (event: PointerEvent | WheelEvent): { x: number; y: number } => {
    const { left, top, width } = canvas.current?.getBoundingClientRect() ?? { left: 0, top: 0, width: 1 };
    const scale = SIDE / width;
    const bound = (value: number): number => Math.min(SIDE - 1, Math.max(0, Math.floor(value * scale)));
    return { x: bound(event.clientX - left), y: bound(event.clientY - top) };
  };

  const actions = useRef({ zoomIn, zoomOut, place });
  actions.current = { zoomIn, zoomOut, place };
  useEffect(() => {
    const element = canvas.current;
    if (element === null) return undefined;
    let turned = 0;
    const onWheel = (event: WheelEvent): void => {
      event.preventDefault();
      turned += event.deltaY;
      if (turned < -60) actions.current.zoomIn(actions.current.place(event));
      else if (turned > 60) actions.current.zoomOut();
      else return;
      turned = 0;
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, []);
  useEffect(() => {
    const give = [
      bindKey("+", () => zoomIn(cell)),
      bindKey("=", () => zoomIn(cell)),
      bindKey("-", zoomOut),
      bindKey("0", () => onWindow({ from: 0, to: axis.width })),
    ];
    return () => give.forEach((back) => back());
  });

  const onKey = (event: KeyboardEvent): void => {
    const moves: Readonly<Record<string, readonly [number, number]>> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    };
    const move = moves[event.key];
    const now = cell ?? { x: SIDE / 2, y: SIDE / 2 };
    if (move !== undefined) {
      event.preventDefault();
      const step = event.shiftKey ? 16 : 1;
      const bound = (value: number): number => Math.min(SIDE - 1, Math.max(0, value));
      setCell({ x: bound(now.x + move[0] * step), y: bound(now.y + move[1] * step) });
    } else if (event.key === "Enter") show(now);
  };
  const show = (at: { x: number; y: number }): void => {
    const address = addressOf(at);
    go({ view: "hex", params: { space: "physical", at: hex(address - (address % PAGE)) } });
  };

  const address = cell === undefined ? undefined : addressOf(cell);
  return (
    <div class="square">
      <div class="square-canvas" ref={box}>
        <canvas
          ref={canvas}
          tabIndex={0}
          role="img"
          aria-label={texts.map.describe(describeTable(table))}
          onPointerMove={(event) => setCell(place(event))}
          onPointerLeave={() => setCell(undefined)}
          onClick={(event) => show(place(event as unknown as PointerEvent))}
          onKeyDown={onKey}
        />
      </div>
      <p class="map-status" aria-live="polite">
        {address === undefined ? (
          <span class="quiet">{texts.map.squareHint}</span>
        ) : (
          <>
            <code>{hex(address - (address % PAGE))}</code> {describeAddress(table, address)}
          </>
        )}
      </p>
    </div>
  );
}
