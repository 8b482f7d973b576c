import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { LogLine, LogLines } from "../../../src/open/session/linux-protocol.js";
import { visible } from "../format.js";
import { texts } from "../texts.js";
import { VirtualList } from "../ui/virtual-list.js";

const t = texts.linux;
const ROW = 22;
const SECOND = 1e9;
const DEBUG = 7;

/** A message of several lines is as many rows: rows are all as tall. */
function rowsOf(lines: readonly LogLine[]): readonly LogLine[] {
  return lines.flatMap((line) =>
    line.text.includes("\n")
      ? line.text.split("\n").map((text, i) => (i === 0 ? { ...line, text } : { text, ...levelOf(line) }))
      : [line],
  );
}

const levelOf = ({ level }: LogLine): { readonly level?: number } => (level === undefined ? {} : { level });

export function LogView({ log }: { readonly log: LogLines }): JSX.Element {
  const [filter, setFilter] = useState("");
  const [level, setLevel] = useState(DEBUG);
  const [selected, setSelected] = useState<number>();
  const all = useMemo(() => rowsOf(log.lines), [log]);
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    return all.filter(
      (line) =>
        (line.level === undefined || line.level <= level) &&
        (wanted === "" || line.text.toLowerCase().includes(wanted)),
    );
  }, [all, filter, level]);
  return (
    <>
      <div class="toolbar">
        <label class="field">
          <input
            value={filter}
            placeholder={t.filter}
            aria-label={t.filter}
            spellcheck={false}
            onInput={(event) => setFilter(event.currentTarget.value)}
          />
        </label>
        <select
          aria-label={t.levels}
          value={String(level)}
          onChange={(event) => setLevel(Number(event.currentTarget.value))}
        >
          {t.levelNames.map((name, i) => (
            <option key={name} value={String(i)}>
              {i === DEBUG ? t.allLevels : t.upTo(name)}
            </option>
          ))}
        </select>
        <span class="quiet" role="status">
          {t.lines(shown.length)}
        </span>
      </div>
      <div class="log-box">
        <VirtualList
          count={shown.length}
          rowHeight={ROW}
          label={t.tabs.log}
          selected={selected}
          onSelect={setSelected}
          row={(index) => {
            const line = shown[index];
            if (line === undefined) return null;
            return (
              <div class={`log-line l${line.level ?? ""}`} title={line.text}>
                <span class="log-time">{line.time === undefined ? "" : (line.time / SECOND).toFixed(6)}</span>
                <span>{visible(line.text)}</span>
              </div>
            );
          }}
        />
      </div>
      {log.remarks.map((remark) => (
        <p key={remark} class="quiet">
          {visible(remark)}
        </p>
      ))}
    </>
  );
}
