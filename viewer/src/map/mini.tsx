import type { JSX } from "preact";
import { useMemo, useRef } from "preact/hooks";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { useDrawing, useSize } from "../ui/canvas.js";
import { makeAxis } from "./axis.js";
import { describeTable } from "./describe.js";
import { paintContents, paintRuler } from "./paint.js";

const RULER = 22;
const NONE: ReadonlySet<number> = new Set();

/** The whole memory as a strip without controls. */
export function MiniStrip({ table, onOpen }: { readonly table: MemoryTable; readonly onOpen: () => void }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(box);
  const axis = useMemo(() => makeAxis(table), [table]);
  useDrawing(canvas, size, (context, { width, height }) => {
    const all = { from: 0, to: axis.width };
    context.clearRect(0, 0, width, height);
    paintContents(context, { table, axis, theme: theme.value, hidden: NONE }, all, { x: 0, y: 0, width, height: height - RULER });
    context.save();
    context.translate(0, height);
    context.scale(1, -1);
    context.restore();
    paintRuler(context, axis, all, { x: 0, y: height - RULER + 2, width, height: RULER - 2 }, theme.value);
  });
  return (
    <button type="button" class="mini-strip" onClick={onOpen} aria-label={`${texts.overview.openMap}: ${describeTable(table)}`}>
      <div ref={box}>
        <canvas ref={canvas} />
      </div>
    </button>
  );
}
