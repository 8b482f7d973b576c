import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { OpenFile } from "../state/files.js";
import { note, route } from "../state/route.js";
import { texts } from "../texts.js";
import { Loaded } from "../ui/loaded.js";
import { useShown } from "../ui/shown.js";
import { ModulesView, MountsView, NetworkView } from "./linux-lists.js";
import { LogView } from "./linux-log.js";
import { StructuresView } from "./linux-structures.js";
import { SystemView } from "./linux-system.js";
import { TasksView } from "./linux-tasks.js";

type Tab = keyof typeof texts.linux.tabs;

/** What each tab asks of the guest when it is shown. */
const TABS: Readonly<Record<Tab, (file: OpenFile) => JSX.Element>> = {
  log: (file) => (
    <Loaded file={file} what="linuxLog">
      {(log) => <LogView log={log} />}
    </Loaded>
  ),
  tasks: (file) => (
    <Loaded file={file} what="linuxTasks">
      {(tasks) => <TasksView file={file} rows={tasks} />}
    </Loaded>
  ),
  modules: (file) => (
    <Loaded file={file} what="linuxModules">
      {(modules) => <ModulesView modules={modules} />}
    </Loaded>
  ),
  mounts: (file) => (
    <Loaded file={file} what="linuxMounts">
      {(mounts) => <MountsView mounts={mounts} />}
    </Loaded>
  ),
  network: (file) => (
    <Loaded file={file} what="linuxNetwork">
      {(network) => <NetworkView network={network} />}
    </Loaded>
  ),
  structures: (file) => <StructuresView file={file} />,
  system: (file) => (
    <Loaded file={file} what="linuxSummary">
      {(summary) => <SystemView summary={summary} />}
    </Loaded>
  ),
};
const NAMES = Object.keys(TABS) as readonly Tab[];

/** What a Linux guest's own memory tells: each tab asks for its part when it is shown. */
export function LinuxView({ file }: { readonly file: OpenFile }): JSX.Element {
  const tab = NAMES.find((one) => one === route.value.params.tab) ?? "log";
  const bar = useRef<HTMLDivElement>(null);
  useShown(bar, tab);
  return (
    <section class="view linux-view" aria-label={texts.views.linux}>
      <div class="toolbar">
        <h2>{texts.views.linux}</h2>
        <div ref={bar} class="segmented tabs-of" role="group" aria-label={texts.linux.parts}>
          {NAMES.map((one) => (
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
      {TABS[tab](file)}
    </section>
  );
}
