import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { hex, parseAddress } from "../format.js";
import { makeAxis, addressAt, unitOf } from "../../../src/open/picture/axis.js";
import { Legend } from "../map/legend.js";
import type { Window } from "../map/paint.js";
import { css } from "../../../src/open/picture/palette.js";
import { shadeSteps } from "../map/shade.js";
import { Square } from "../map/square.js";
import { clampWindow, Strip, zoomWindow } from "../map/strip.js";
import { asProblem } from "../session/client.js";
import { type OpenFile, samplesOf } from "../state/files.js";
import { note, route } from "../state/route.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { Icon } from "../ui/icons.js";
import { Loaded } from "../ui/loaded.js";

export function MapView({ file }: { readonly file: OpenFile }): JSX.Element {
  return (
    <Loaded file={file} what="memory">
      {(table) => <MemoryMap file={file} table={table} />}
    </Loaded>
  );
}

function MemoryMap({ file, table }: { readonly file: OpenFile; readonly table: MemoryTable }): JSX.Element {
  const axis = useMemo(() => makeAxis(table), [table]);
  const samples = samplesOf(file, table);
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const { params } = route.value;
  const form = params.form === "square" ? "square" : "strip";
  const view = useMemo((): Window => {
    const from = parseAddress(params.from ?? "");
    const to = parseAddress(params.to ?? "");
    if (from === undefined || to === undefined || from >= to) return { from: 0, to: axis.width };
    return clampWindow(axis, unitOf(axis, Number(from)), unitOf(axis, Number(to)));
  }, []);
  const [window, setWindow] = useState(view);

  // the address is kept up to date when the picture stands still
  const timer = useRef(0);
  const onWindow = useCallback(
    (next: Window) => {
      setWindow(next);
      clearTimeout(timer.current);
      timer.current = globalThis.setTimeout(() => {
        const now = route.peek();
        if (now.view !== "map") return;
        const whole = next.from <= 0 && next.to >= axis.width;
        const { from: _from, to: _to, ...rest } = now.params;
        const part = { from: hex(addressAt(axis, next.from)), to: hex(addressAt(axis, next.to)) };
        note(whole ? rest : { ...rest, ...part });
      }, 250);
    },
    [axis],
  );
  useEffect(() => () => clearTimeout(timer.current), []);

  const zoom = (factor: number): void => onWindow(zoomWindow(axis, window, factor, 0.5));
  const toggle = (kind: number): void => {
    const next = new Set(hidden);
    if (!next.delete(kind)) next.add(kind);
    setHidden(next);
  };
  const aspect = ASPECTS.find((one) => one === params.show) ?? "presence";
  const kinds = useKinds(file, aspect);
  const shown = kinds.table ?? table;
  const contents = aspect === "presence" && params.colours !== "presence";
  const props = { table: shown, axis, hidden, samples, hits: file.hits.value, window, onWindow };
  return (
    <section class="view map-view" aria-label={texts.views.map}>
      <div class="toolbar">
        <h2>{texts.views.map}</h2>
        <div class="segmented" role="group">
          {(["strip", "square"] as const).map((one) => (
            <button
              key={one}
              type="button"
              aria-pressed={form === one}
              title={one === "strip" ? texts.map.strips : texts.map.squares}
              onClick={() => {
                const { form: _form, ...rest } = route.peek().params;
                note(one === "strip" ? rest : { ...rest, form: one });
              }}
            >
              {texts.map[one]}
            </button>
          ))}
        </div>
        <div class="segmented" role="group">
          <button
            type="button"
            title={texts.map.zoomOut}
            aria-label={texts.map.zoomOut}
            onClick={() => zoom(form === "square" ? 4 : 2)}
          >
            <Icon name="minus" size={16} />
          </button>
          <button
            type="button"
            title={texts.map.zoomIn}
            aria-label={texts.map.zoomIn}
            onClick={() => zoom(form === "square" ? 0.24 : 0.5)}
          >
            <Icon name="plus" size={16} />
          </button>
          <button
            type="button"
            title={texts.map.whole}
            aria-label={texts.map.whole}
            onClick={() => onWindow({ from: 0, to: axis.width })}
          >
            <Icon name="fit" size={16} />
          </button>
        </div>
        <div class="segmented" role="group">
          {ASPECTS.map((one) => (
            <button
              key={one}
              type="button"
              aria-pressed={aspect === one}
              title={texts.map.aspectHints[one]}
              onClick={() => {
                const { show: _show, ...rest } = route.peek().params;
                setHidden(new Set());
                note(one === "presence" ? rest : { ...rest, show: one });
              }}
            >
              {texts.map.aspects[one]}
            </button>
          ))}
        </div>
        {form === "square" && aspect === "presence" && (
          <div class="segmented" role="group">
            {[false, true].map((one) => (
              <button
                key={String(one)}
                type="button"
                aria-pressed={contents === one}
                onClick={() => {
                  const { colours: _colours, ...rest } = route.peek().params;
                  note(one ? rest : { ...rest, colours: "presence" });
                }}
              >
                {one ? texts.map.byContents : texts.map.byPresence}
              </button>
            ))}
          </div>
        )}
        <p class="window-text">
          <code>
            {hex(addressAt(axis, window.from))} – {hex(Math.max(0, addressAt(axis, window.to) - 1))}
          </code>
        </p>
      </div>
      {aspect !== "presence" && kinds.table === undefined && (
        <p class="quiet" role="status">
          {kinds.problem ?? texts.shell.loading}
        </p>
      )}
      {form === "strip" ? <Strip {...props} /> : <Square {...props} contents={contents} />}
      {(contents || form === "strip") && <ContentsLegend />}
      <Legend table={shown} hidden={hidden} onToggle={toggle} />
      {table.cutAt !== undefined && <p class="quiet">{texts.memory.cut(hex(table.cutAt))}</p>}
    </section>
  );
}

const ASPECTS = ["presence", "kind", "sends"] as const;

/** Memory by another aspect than presence, asked for when it is shown. */
function useKinds(
  file: OpenFile,
  aspect: (typeof ASPECTS)[number],
): { readonly table?: MemoryTable; readonly problem?: string } {
  const [found, setFound] = useState<{
    readonly aspect: string;
    readonly table?: MemoryTable;
    readonly problem?: string;
  }>();
  useEffect(() => {
    if (aspect === "presence") return undefined;
    let isCurrent = true;
    file.client.call("pageKinds", { by: aspect }).then(
      (table) =>
        isCurrent &&
        setFound(table === undefined ? { aspect, problem: texts.map.unknownAspect } : { aspect, table }),
      (error: unknown) => isCurrent && setFound({ aspect, problem: asProblem(error).message }),
    );
    return () => {
      isCurrent = false;
    };
  }, [file, aspect]);
  return found?.aspect === aspect ? found : {};
}

/** What the colours of contents mean. */
function ContentsLegend(): JSX.Element {
  const colours = shadeSteps(theme.value);
  return (
    <ul class="legend" aria-label={texts.map.contents}>
      {texts.map.contentSteps.map((name, i) => (
        <li key={name} class="legend-entry">
          <span class="swatch" style={{ background: css(colours[i] ?? [0, 0, 0]) }} />
          {name}
        </li>
      ))}
    </ul>
  );
}
