import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { useDrawing, useSize } from "../ui/canvas.js";
import { makeAxis } from "../../../src/open/picture/axis.js";
import { describeTable } from "./describe.js";
import { columnAddresses, paintContents, paintRuler } from "./paint.js";
import { css } from "../../../src/open/picture/palette.js";
import type { PageSamples } from "./samples.js";
import { shade } from "./shade.js";

const RULER = 22;
const CONTENTS = 34;
const GAP = 3;
/** CSS pixels of one page that was looked at. */
const BAR = 4;
const NONE: ReadonlySet<number> = new Set();

interface MiniProps {
  readonly table: MemoryTable;
  readonly samples: PageSamples;
  readonly onOpen: () => void;
}

/** The whole memory as a strip without controls: what is there, and below it what pages hold. */
export function MiniStrip({ table, samples, onOpen }: MiniProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(box);
  const [, setArrived] = useState(0);
  const axis = useMemo(() => makeAxis(table), [table]);
  const width = size?.width ?? 0;
  const wanted = useMemo(
    () => columnAddresses(axis, { from: 0, to: axis.width }, Math.max(1, Math.floor(width / BAR))),
    [axis, width],
  );
  useEffect(() => {
    if (width === 0) return;
    samples.want("mini", wanted, () => setArrived((n) => n + 1)).catch(() => undefined);
  }, [samples, wanted, width]);
  useDrawing(canvas, size, (context, { width: wide, height }) => {
    const all = { from: 0, to: axis.width };
    const look = { table, axis, theme: theme.value, hidden: NONE };
    const tall = height - RULER - CONTENTS - GAP;
    context.clearRect(0, 0, wide, height);
    paintContents(context, look, all, { x: 0, y: 0, width: wide, height: tall });
    for (const [i, address] of wanted.entries()) {
      const sample = samples.at(address);
      if (sample === undefined) continue;
      context.fillStyle = css(shade(sample, theme.value));
      context.fillRect(i * BAR, tall + GAP, BAR, CONTENTS);
    }
    const below = { x: 0, y: height - RULER + 2, width: wide, height: RULER - 2 };
    paintRuler(context, axis, all, below, theme.value, "below");
  });
  return (
    <button
      type="button"
      class="mini-strip"
      onClick={onOpen}
      aria-label={`${texts.overview.openMap}: ${describeTable(table)}`}
    >
      <div ref={box}>
        <canvas ref={canvas} />
      </div>
    </button>
  );
}
