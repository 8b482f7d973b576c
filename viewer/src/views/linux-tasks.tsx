import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { MappingRow, StackRows, TaskRow, TaskRows } from "../../../src/open/session/linux-protocol.js";
import type { Problem } from "../../../src/open/session/protocol.js";
import { bytes, hex, visible } from "../format.js";
import { inTree } from "../linux/tree.js";
import { asProblem } from "../session/client.js";
import type { OpenFile } from "../state/files.js";
import { note, route } from "../state/route.js";
import { texts } from "../texts.js";
import { ProblemBox } from "../ui/loaded.js";
import { VirtualList } from "../ui/virtual-list.js";
import { bytesLink, structureLink } from "./structure-link.js";

const t = texts.linux;
const ROW = 26;
const SECOND = 1e9;
const INDENT = 14;
const DEEPEST = 12;

/** `[kthreadd]` for what runs in the kernel, else the command line, else the name. */
function commandOf({ commandLine, comm, kthread }: TaskRow): string {
  const line = (commandLine ?? []).join(" ").trim();
  return kthread ? `[${comm}]` : line === "" ? comm : line;
}

export function TasksView({ file, rows }: { readonly file: OpenFile; readonly rows: TaskRows }): JSX.Element {
  const [filter, setFilter] = useState("");
  const [tree, setTree] = useState(true);
  const [threads, setThreads] = useState(false);
  const [kernelThreads, setKernelThreads] = useState(true);
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    const kept = rows.tasks.filter(
      (task) =>
        (threads || task.pid === task.tgid) &&
        (kernelThreads || !task.kthread) &&
        (wanted === "" ||
          `${task.pid} ${task.comm} ${commandOf(task)} ${task.state}`.toLowerCase().includes(wanted)),
    );
    return tree && wanted === "" ? inTree(kept) : kept.map((row) => ({ row, depth: 0 }));
  }, [rows, filter, tree, threads, kernelThreads]);
  const asked = route.value.params.task;
  const selected = shown.findIndex(({ row }) => hex(row.address) === asked);
  const chosen = rows.tasks.find(({ address }) => hex(address) === asked);
  const toggles = [
    [t.tree, tree, setTree],
    [t.threads, threads, setThreads],
    [t.kernelThreads, kernelThreads, setKernelThreads],
  ] as const;
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
        {toggles.map(([name, value, set]) => (
          <button key={name} type="button" class="button" aria-pressed={value} onClick={() => set(!value)}>
            {name}
          </button>
        ))}
        <span class="quiet" role="status">
          {t.tasks(shown.length)}
        </span>
      </div>
      <div class="split">
        <div class="split-list">
          <div class="task-row list-head" aria-hidden="true">
            <span class="number">{t.pid}</span>
            <span>{t.state}</span>
            <span class="number">{t.cpu}</span>
            <span class="number">{t.memory}</span>
            <span class="number">{t.time}</span>
            <span>{t.command}</span>
          </div>
          <VirtualList
            count={shown.length}
            rowHeight={ROW}
            label={t.tabs.tasks}
            selected={selected === -1 ? undefined : selected}
            onSelect={(index) => {
              const entry = shown[index];
              if (entry !== undefined) note({ tab: "tasks", task: hex(entry.row.address) });
            }}
            row={(index) => {
              const entry = shown[index];
              if (entry === undefined) return null;
              const { row, depth } = entry;
              return (
                <div class={row.kthread ? "task-row kernel" : "task-row"}>
                  <span class="number">{row.pid}</span>
                  <span class={`task-state s${row.state.slice(0, 1)}`}>
                    {row.state}
                    {row.onCpu && <i title={t.onCpu}>●</i>}
                  </span>
                  <span class="number">{row.cpu ?? ""}</span>
                  <span class="number">{row.rss === undefined ? "" : bytes(row.rss)}</span>
                  <span class="number">{(row.time / SECOND).toFixed(2)}</span>
                  <span
                    class="task-command"
                    style={{ paddingInlineStart: `${Math.min(depth, DEEPEST) * INDENT}px` }}
                    title={commandOf(row)}
                  >
                    {visible(commandOf(row))}
                  </span>
                </div>
              );
            }}
          />
        </div>
        <div class="split-detail">
          {chosen === undefined ? (
            <p class="quiet">{t.choose}</p>
          ) : (
            <Stack key={asked} file={file} task={chosen} />
          )}
        </div>
      </div>
      {rows.remarks.map((remark) => (
        <p key={remark} class="quiet">
          {visible(remark)}
        </p>
      ))}
    </>
  );
}

function Stack({ file, task }: { readonly file: OpenFile; readonly task: TaskRow }): JSX.Element {
  const [stack, setStack] = useState<StackRows>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    file.client
      .call("linuxStack", { task: task.address })
      .then(setStack, (error: unknown) => setProblem(asProblem(error)));
  }, [file, task]);
  return (
    <>
      <h3>
        {visible(task.comm)} <span class="quiet">{task.pid}</span>
      </h3>
      <p class="quiet">
        {t.taskStruct} {structureLink("task_struct", task.address)}
      </p>
      <h4>{t.stack}</h4>
      {problem !== undefined && <ProblemBox problem={problem} />}
      {stack === undefined && problem === undefined && <p class="quiet">{texts.shell.loading}</p>}
      <ol class="frames">
        {stack?.frames.map(({ pc, mode, place, stack: on }, i) => (
          <li key={i}>
            <span class="frame-number">{i}</span>
            <span>
              <strong>{mode === "user" ? t.userMode : visible(place ?? "?")}</strong>
              {bytesLink(mode === "user" ? `pid:${task.pid}` : "kernel", pc)}
              {on !== undefined && <span class="chip">{on}</span>}
            </span>
          </li>
        ))}
      </ol>
      {stack?.ended !== undefined && <p class="quiet">{t.ends(visible(stack.ended))}</p>}
      {!task.kthread && <Mappings file={file} task={task} />}
    </>
  );
}

const MOST_MAPPINGS = 400;

/** A process's virtual memory: each mapping leads to its bytes. */
function Mappings({ file, task }: { readonly file: OpenFile; readonly task: TaskRow }): JSX.Element {
  const [rows, setRows] = useState<readonly MappingRow[]>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    file.client
      .call("linuxMappings", { task: task.address })
      .then(setRows, (error: unknown) => setProblem(asProblem(error)));
  }, [file, task]);
  return (
    <>
      <h4>{t.memoryMap}</h4>
      {problem !== undefined && <ProblemBox problem={problem} />}
      {rows?.length === 0 && <p class="quiet">{t.noMappings}</p>}
      <ul class="mappings">
        {rows?.slice(0, MOST_MAPPINGS).map(({ start, end, permissions, file: path }) => (
          <li key={start}>
            {bytesLink(`pid:${task.pid}`, start)}
            <span class="quiet">
              <code>{permissions}</code> {bytes(Number(end - start))}
            </span>
            <span>{visible(path ?? t.anonymous)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
