import type { JSX } from "preact";
import type { OpenFile } from "../state/files.js";
import { note, route } from "../state/route.js";
import { texts } from "../texts.js";
import { Loaded } from "../ui/loaded.js";
import { LogView } from "./linux-log.js";
import { ModulesView, SystemView } from "./linux-system.js";
import { TasksView } from "./linux-tasks.js";

const TABS = ["log", "tasks", "modules", "system"] as const;

/** What a Linux guest's own memory tells: each tab asks for its part when it is shown. */
export function LinuxView({ file }: { readonly file: OpenFile }): JSX.Element {
  const tab = TABS.find((one) => one === route.value.params.tab) ?? "log";
  return (
    <section class="view linux-view" aria-label={texts.views.linux}>
      <div class="toolbar">
        <h2>{texts.views.linux}</h2>
        <div class="segmented" role="group">
          {TABS.map((one) => (
            <button
              key={one}
              type="button"
              aria-pressed={tab === one}
              onClick={() => note(one === "log" ? {} : { tab: one })}
            >
              {texts.linux.tabs[one]}
            </button>
          ))}
        </div>
      </div>
      {tab === "log" && (
        <Loaded file={file} what="linuxLog">
          {(log) => <LogView log={log} />}
        </Loaded>
      )}
      {tab === "tasks" && (
        <Loaded file={file} what="linuxTasks">
          {(tasks) => <TasksView file={file} rows={tasks} />}
        </Loaded>
      )}
      {tab === "modules" && (
        <Loaded file={file} what="linuxModules">
          {(modules) => <ModulesView modules={modules} />}
        </Loaded>
      )}
      {tab === "system" && (
        <Loaded file={file} what="linuxSummary">
          {(summary) => <SystemView summary={summary} />}
        </Loaded>
      )}
    </section>
  );
}
