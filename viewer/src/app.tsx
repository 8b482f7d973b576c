import type { ComponentType, JSX } from "preact";
import { Component, type ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { visible } from "./format.js";
import { closeFile, files, type OpenFile, retry } from "./state/files.js";
import { bindKey, helpOpen } from "./state/keys.js";
import { openBlobs } from "./state/opening.js";
import { go, printRoute, route, type ViewName, VIEWS } from "./state/route.js";
import { theme, toggleTheme } from "./state/theme.js";
import { texts } from "./texts.js";
import { Help } from "./ui/help.js";
import { Icon, Mark } from "./ui/icons.js";
import { ProblemBox } from "./ui/loaded.js";
import { useShown } from "./ui/shown.js";
import { CompareView } from "./views/compare.js";
import { ExportView } from "./views/export.js";
import { FileView } from "./views/file.js";
import { FindingsView } from "./views/findings.js";
import { HexView } from "./views/hex.js";
import { LinuxView } from "./views/linux.js";
import { MapView } from "./views/map.js";
import { OverviewView } from "./views/overview.js";
import { ProcessorsView } from "./views/processors.js";
import { StartView } from "./views/start.js";

const COMPONENTS: Readonly<Record<ViewName, ComponentType<{ readonly file: OpenFile }>>> = {
  overview: OverviewView,
  map: MapView,
  hex: HexView,
  processors: ProcessorsView,
  linux: LinuxView,
  file: FileView,
  findings: FindingsView,
  compare: CompareView,
  export: ExportView,
};

export function App(): JSX.Element {
  const picker = useRef<HTMLInputElement>(null);
  const [dropping, setDropping] = useState(false);
  const { file: number, view } = route.value;
  const file = files.value[number - 1];

  useEffect(() => {
    const pick = (): void => picker.current?.click();
    const step = (by: number): void => {
      const all = files.peek().length;
      if (all > 0) go({ file: ((route.peek().file - 1 + by + all) % all) + 1 });
    };
    const give = [
      bindKey("o", pick),
      bindKey("t", toggleTheme),
      bindKey("?", () => {
        helpOpen.value = !helpOpen.value;
      }),
      bindKey("[", () => step(-1)),
      bindKey("]", () => step(1)),
      ...VIEWS.map((name, i) => bindKey(String(i + 1), () => route.peek().file > 0 && go({ view: name }))),
    ];
    return () => give.forEach((back) => back());
  }, []);

  useEffect(() => {
    const onOver = (event: DragEvent): void => {
      if (event.dataTransfer?.types.includes("Files") !== true) return;
      event.preventDefault();
      setDropping(true);
    };
    const onLeave = (event: DragEvent): void => {
      if (event.relatedTarget === null) setDropping(false);
    };
    const onDrop = (event: DragEvent): void => {
      event.preventDefault();
      setDropping(false);
      openBlobs(Array.from(event.dataTransfer?.files ?? []));
    };
    window.addEventListener("dragover", onOver);
    window.addEventListener("dragleave", onLeave);
    window.addEventListener("drop", onDrop);
    return () => {
      window.removeEventListener("dragover", onOver);
      window.removeEventListener("dragleave", onLeave);
      window.removeEventListener("drop", onDrop);
    };
  }, []);

  const title = file === undefined ? texts.product : `${file.name} – ${texts.product}`;
  useEffect(() => {
    document.title = title;
  }, [title]);

  return (
    <div class={file === undefined ? "app" : "app with-file"}>
      <a
        class="skip"
        href="#content"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("content")?.focus();
        }}
      >
        {texts.shell.skip}
      </a>
      <header class="bar">
        <a class="brand" href="#">
          <Mark /> <span>{texts.product}</span>
        </a>
        <Tabs current={number} />
        <div class="bar-actions">
          <button
            type="button"
            class="bar-button"
            title={texts.shell.openHint}
            onClick={() => picker.current?.click()}
          >
            <Icon name="open" /> <span>{texts.shell.open}</span>
          </button>
          <button
            type="button"
            class="bar-button"
            title={texts.shell.theme}
            aria-label={texts.shell.theme}
            onClick={toggleTheme}
          >
            <Icon name={theme.value === "dark" ? "sun" : "moon"} />
          </button>
          <button
            type="button"
            class="bar-button"
            title={texts.shell.help}
            aria-label={texts.shell.help}
            onClick={() => {
              helpOpen.value = true;
            }}
          >
            <Icon name="help" />
          </button>
        </div>
        <input
          ref={picker}
          id="picker"
          type="file"
          multiple
          hidden
          aria-label={texts.shell.openHint}
          onChange={(event) => {
            openBlobs(Array.from(event.currentTarget.files ?? []));
            event.currentTarget.value = "";
          }}
        />
      </header>
      {file !== undefined && <Navigation file={file} view={view} />}
      <main id="content" tabIndex={-1}>
        {file === undefined ? (
          number > 0 && files.value.length === 0 ? (
            <>
              <p class="notice">
                {texts.shell.noSuchFile} {texts.shell.browserForgets}
              </p>
              <StartView />
            </>
          ) : (
            <StartView />
          )
        ) : (
          <>
            <Changed file={file} />
            <Death file={file} />
            <Guard key={`${file.id} ${file.edition} ${view}`}>
              <View file={file} view={view} />
            </Guard>
          </>
        )}
      </main>
      {dropping && (
        <div class="dropping" aria-hidden="true">
          <span>{texts.shell.dropHere}</span>
        </div>
      )}
      <Help />
    </div>
  );
}

function View({ file, view }: { readonly file: OpenFile; readonly view: ViewName }): JSX.Element {
  const Chosen = COMPONENTS[view];
  return <Chosen file={file} />;
}

/** A fault in one view leaves the others usable. */
class Guard extends Component<{ readonly children: ComponentChildren }, { readonly error?: unknown }> {
  override state: { readonly error?: unknown } = {};

  static override getDerivedStateFromError(error: unknown): { readonly error: unknown } {
    return { error };
  }

  override render(): ComponentChildren {
    const { error } = this.state;
    if (error === undefined) return this.props.children;
    const message = error instanceof Error ? error.message : "not an Error";
    return <ProblemBox problem={{ severity: "error", code: "viewer/internal", message }} />;
  }
}

/** Stays until the file is opened anew: what is on the page may be of another than is there now. */
function Changed({ file }: { readonly file: OpenFile }): JSX.Element | null {
  const problem = file.changed.value;
  if (problem === undefined) return null;
  return (
    <div class="problem" role="alert">
      <Icon name="warning" size={20} />
      <div>
        <strong>{texts.shell.changed}</strong>
        <p>{visible(problem.message)}</p>
        <button type="button" class="button" onClick={() => retry(file)}>
          {texts.shell.retry}
        </button>
      </div>
    </div>
  );
}

function Death({ file }: { readonly file: OpenFile }): JSX.Element | null {
  const death = file.deaths.value;
  if (death === undefined) return null;
  return (
    <div class="problem" role="alert">
      <Icon name="warning" size={20} />
      <div>
        <strong>{texts.shell.died(visible(death.message))}</strong>
        <p>{texts.shell.restarted}</p>
        <button type="button" class="button" onClick={() => retry(file)}>
          {texts.shell.retry}
        </button>
      </div>
    </div>
  );
}

function Tabs({ current }: { readonly current: number }): JSX.Element {
  return (
    <nav class="tabs" aria-label={texts.shell.files}>
      {files.value.map((file, i) => {
        const { verify, open } = file.known;
        const bad =
          open.value.state === "failed" || (verify.value.state === "ready" && verify.value.value.errors > 0);
        const busy = open.value.state === "loading" || file.known.overview.value.state === "loading";
        const short = file.name.slice(file.name.lastIndexOf("/") + 1);
        return (
          <span key={file.id} class={i + 1 === current ? "tab current" : "tab"}>
            <a
              href={printRoute({
                file: i + 1,
                view: route.value.file === i + 1 ? route.value.view : "overview",
                params: {},
              })}
              aria-current={i + 1 === current ? "page" : undefined}
              title={visible(file.name)}
            >
              <i class={busy ? "dot busy" : bad ? "dot bad" : "dot"} />
              {visible(short)}
            </a>
            <button
              type="button"
              aria-label={texts.shell.close(visible(short))}
              onClick={() => {
                closeFile(file);
                const left = files.value.length;
                const next = Math.min(current > i + 1 ? current - 1 : current, left);
                go(left === 0 ? { file: 0, view: "overview", params: {} } : { file: next });
              }}
            >
              <Icon name="close" size={14} />
            </button>
          </span>
        );
      })}
    </nav>
  );
}

function Navigation({ file, view }: { readonly file: OpenFile; readonly view: ViewName }): JSX.Element {
  const { verify, overview } = file.known;
  const findings = verify.value.state === "ready" ? verify.value.value : undefined;
  const opening = overview.value.state === "ready" ? overview.value.value.problems.length : 0;
  const errors = Math.max(findings?.errors ?? 0, opening);
  const warnings = findings?.warnings ?? 0;
  const bar = useRef<HTMLElement>(null);
  useShown(bar, view);
  return (
    <nav ref={bar} class="side" aria-label={texts.shell.navigation}>
      {VIEWS.map((name, i) => (
        <a
          key={name}
          href={printRoute({ file: route.value.file, view: name, params: {} })}
          aria-current={name === view ? "page" : undefined}
          title={`${texts.views[name]} (${i + 1})`}
        >
          <Icon name={name} /> <span>{texts.views[name]}</span>
          {name === "findings" && errors > 0 && <b class="badge bad">{errors}</b>}
          {name === "findings" && errors === 0 && warnings > 0 && <b class="badge fair">{warnings}</b>}
        </a>
      ))}
    </nav>
  );
}
