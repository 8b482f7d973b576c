import type { JSX } from "preact";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { bytes } from "../format.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { kindText } from "./describe.js";
import { css, kindColours, stackOrder } from "../../../src/open/picture/palette.js";

interface LegendProps {
  readonly table: MemoryTable;
  readonly hidden?: ReadonlySet<number>;
  readonly onToggle?: (kind: number) => void;
}

/** Colours with their meanings and sizes; with `onToggle`, buttons that hide a kind on the map. */
export function Legend({ table, hidden, onToggle }: LegendProps): JSX.Element {
  const colours = kindColours(table.legend, theme.value);
  return (
    <ul class="legend" aria-label={onToggle === undefined ? undefined : texts.map.legend}>
      {stackOrder(table.legend).map((kind) => {
        const entry = table.legend[kind];
        if (entry === undefined) return null;
        const body = (
          <>
            <span class="swatch" style={{ background: css(colours[kind] ?? [0, 0, 0]) }} />
            <span>{kindText(entry)}</span>
            <span class="quiet">{bytes(entry.bytes)}</span>
          </>
        );
        return (
          <li key={kind}>
            {onToggle === undefined ? (
              <span class="legend-entry">{body}</span>
            ) : (
              <button
                type="button"
                class="legend-entry"
                aria-pressed={hidden?.has(kind) !== true}
                title={texts.map.legend}
                onClick={() => onToggle(kind)}
              >
                {body}
              </button>
            )}
          </li>
        );
      })}
    </ul>
  );
}
