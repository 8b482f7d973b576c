import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { LogLine, TaskRow } from "../../../src/open/session/linux-protocol.js";
import { compareLogs, compareTasks } from "../compare/linux.js";
import { bytes, visible } from "../format.js";
import { load, type OpenFile } from "../state/files.js";
import { texts } from "../texts.js";

const t = texts.compare;
const MOST = 300;
const SECOND = 1e9;

/** What the log and the tasks of two states of a Linux guest tell apart. */
export function LinuxDifference({ a, b }: { readonly a: OpenFile; readonly b: OpenFile }): JSX.Element {
  useEffect(() => {
    for (const file of [a, b]) {
      void load(file, "linuxLog");
      void load(file, "linuxTasks");
    }
  }, [a, b]);
  const logs = [a.known.linuxLog.value, b.known.linuxLog.value] as const;
  const tasks = [a.known.linuxTasks.value, b.known.linuxTasks.value] as const;
  const [logA, logB] = logs;
  const [tasksA, tasksB] = tasks;
  const hasFailed = [...logs, ...tasks].some(({ state }) => state === "failed");
  const isWaiting = [...logs, ...tasks].some(({ state }) => state === "loading");
  return (
    <section class="card compare-linux">
      <h3>{t.linux}</h3>
      {isWaiting && <p class="quiet">{texts.shell.loading}</p>}
      {!isWaiting && hasFailed && <p class="quiet">{t.notLinux}</p>}
      {logA.state === "ready" && logB.state === "ready" && <Logs a={logA.value.lines} b={logB.value.lines} />}
      {tasksA.state === "ready" && tasksB.state === "ready" && (
        <Tasks a={tasksA.value.tasks} b={tasksB.value.tasks} />
      )}
    </section>
  );
}

function Logs({ a, b }: { readonly a: readonly LogLine[]; readonly b: readonly LogLine[] }): JSX.Element {
  const { onlyA, onlyB } = useMemo(() => compareLogs(a, b), [a, b]);
  return (
    <>
      <h4>
        {t.newLines(onlyB.length)}, {t.oldLines(onlyA.length)}
      </h4>
      <ol class="log-lines">
        {onlyB.slice(0, MOST).map(({ time, level, text }, i) => (
          <li key={i} class={`log-line l${level ?? ""}`}>
            <span class="log-time">{time === undefined ? "" : (time / SECOND).toFixed(6)}</span>
            <span>{visible(text)}</span>
          </li>
        ))}
      </ol>
      <More count={onlyB.length - MOST} />
    </>
  );
}

const More = ({ count }: { readonly count: number }): JSX.Element | null =>
  count > 0 ? <p class="quiet">{t.leftOut(count)}</p> : null;

const nameOf = ({ pid, comm, kthread }: TaskRow): string => `${pid} ${kthread ? `[${comm}]` : comm}`;

function Tasks({ a, b }: { readonly a: readonly TaskRow[]; readonly b: readonly TaskRow[] }): JSX.Element {
  const { started, ended, altered } = useMemo(() => compareTasks(a, b), [a, b]);
  const lists = [
    [t.started, started],
    [t.ended, ended],
  ] as const;
  return (
    <>
      {lists.map(([title, rows]) => (
        <div key={title}>
          <h4>
            {title}: {rows.length}
          </h4>
          <p class="task-names">
            {rows.slice(0, MOST).map((row) => (
              <span key={row.address} class="chip">
                {visible(nameOf(row))}
              </span>
            ))}
          </p>
          <More count={rows.length - MOST} />
        </div>
      ))}
      <h4>
        {t.altered}: {altered.length}
      </h4>
      {altered.length > 0 && (
        <div class="scroll-x">
          <table>
            <thead>
              <tr>
                <th>{texts.linux.command}</th>
                <th>{texts.linux.state}</th>
                <th>{texts.linux.time}</th>
                <th>{texts.linux.memory}</th>
              </tr>
            </thead>
            <tbody>
              {altered.slice(0, MOST).map(({ a: one, b: two }) => (
                <tr key={one.address}>
                  <td>{visible(nameOf(two))}</td>
                  <td>{change(one.state, two.state)}</td>
                  <td>{change(seconds(one), seconds(two))}</td>
                  <td>{change(memory(one), memory(two))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <More count={altered.length - MOST} />
    </>
  );
}

const seconds = ({ time }: TaskRow): string => `${(time / SECOND).toFixed(2)} s`;
const memory = ({ rss }: TaskRow): string => (rss === undefined ? "" : bytes(rss));
const change = (a: string, b: string): string => (a === b ? a : `${a} → ${b}`);
