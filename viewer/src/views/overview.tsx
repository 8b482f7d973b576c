// over 350 lines: one view, a small component for each of its blocks
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { Layer, Overview, Problem } from "../../../src/open/session/protocol.js";
import { bytes, hex, percent, visible } from "../format.js";
import { Legend } from "../map/legend.js";
import { MiniStrip } from "../map/mini.js";
import { findKernel, load, type OpenFile, samplesOf, SEARCHED_UNASKED } from "../state/files.js";
import { go } from "../state/route.js";
import { texts } from "../texts.js";
import { Icon } from "../ui/icons.js";
import { JsonTree } from "../ui/json-tree.js";
import { Loaded } from "../ui/loaded.js";

const t = texts.overview;
const MOST_PROCESSORS = 8;
const MOST_PROBLEMS = 3;

export function OverviewView({ file }: { readonly file: OpenFile }): JSX.Element {
  return (
    <Loaded file={file} what="overview">
      {(overview) => <Page file={file} overview={overview} />}
    </Loaded>
  );
}

function Page({ file, overview }: { readonly file: OpenFile; readonly overview: Overview }): JSX.Element {
  const { identity, name, facts, layers, processors, warnings } = overview;
  const banner = overview.software.find(({ key }) => key === "banner")?.value;
  const origin = facts.find(({ key }) => key === "origin")?.value ?? identity.title;
  const chips = ["guestType", "arch", "savedBy", "machine"].flatMap(
    (key) => facts.find((fact) => fact.key === key)?.value ?? [],
  );
  const rest = facts.filter(
    ({ key }) => !["guestType", "arch", "savedBy", "machine", "origin"].includes(key),
  );
  return (
    <section class="view overview" aria-label={texts.views.overview}>
      <header class="overview-head">
        <h1>{visible(name ?? file.name.slice(file.name.lastIndexOf("/") + 1))}</h1>
        <p>
          <span class="kind">{visible(origin)}</span>
          {chips.map((chip) => (
            <span key={chip} class="chip">
              {visible(chip)}
            </span>
          ))}
        </p>
      </header>
      <Health file={file} overview={overview} />
      <Tiles overview={overview} />
      <KernelSearch file={file} overview={overview} />
      <Memory file={file} />
      <div class="columns">
        <Card title={t.guest}>
          <dl class="facts">
            <Row label={t.file}>{visible(file.name)}</Row>
            {rest.map(({ key, value }) => (
              <Row key={key} label={texts.facts[key] ?? key}>
                {visible(value)}
              </Row>
            ))}
            {banner !== undefined && <Row label={t.kernel}>{visible(banner)}</Row>}
          </dl>
        </Card>
        {processors.length > 0 && (
          <Card title={t.registers}>
            <table class="processor-table">
              <thead>
                <tr>
                  <th>{t.processor}</th>
                  <th>{t.mode}</th>
                  <th>{t.next}</th>
                </tr>
              </thead>
              <tbody>
                {processors.slice(0, MOST_PROCESSORS).map(({ id, mode, pc }) => (
                  <tr key={id}>
                    <td>{id}</td>
                    <td>{mode ?? "–"}</td>
                    <td>
                      {pc === undefined ? (
                        "–"
                      ) : (
                        <button
                          type="button"
                          class="link"
                          onClick={() => go({ view: "processors", params: { cpu: String(id) } })}
                        >
                          <code>{hex(pc)}</code>
                        </button>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            {processors.length > MOST_PROCESSORS && (
              <button type="button" class="link" onClick={() => go({ view: "processors" })}>
                {t.more(processors.length - MOST_PROCESSORS)}
              </button>
            )}
          </Card>
        )}
      </div>
      {layers.length > 0 && identity.size !== undefined && (
        <Card title={t.layers}>
          <Layers layers={layers} size={identity.size} />
        </Card>
      )}
      {warnings.length > 0 && (
        <Card title={t.warnings}>
          <ul class="plain">
            {warnings.slice(0, 50).map((warning) => (
              <li key={warning}>{visible(warning)}</li>
            ))}
          </ul>
        </Card>
      )}
      <Details file={file} />
    </section>
  );
}

function Card({
  title,
  action,
  children,
}: {
  readonly title: string;
  readonly action?: ComponentChildren;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <section class="card">
      <div class="card-head">
        <h2>{title}</h2>
        {action}
      </div>
      {children}
    </section>
  );
}

function Row({
  label,
  children,
}: {
  readonly label: string;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** The first thing a user wants to know: is the file sound? */
function Health({ file, overview }: { readonly file: OpenFile; readonly overview: Overview }): JSX.Element {
  const known = file.known.verify.value;
  useEffect(() => {
    if (known.state === "idle") void load(file, "verify");
  }, [file, known.state]);
  const opening = overview.problems.filter(({ severity }) => severity === "error");
  const found =
    known.state === "ready" ? known.value.findings.filter(({ severity }) => severity === "error") : [];
  const problems = [
    ...opening,
    ...found.filter(({ message }) => !opening.some((one) => one.message === message)),
  ];
  const errors = known.state === "ready" ? Math.max(known.value.errors, problems.length) : opening.length;
  const action = (
    <button type="button" class="link" onClick={() => go({ view: "findings" })}>
      {t.all} <Icon name="right" size={14} />
    </button>
  );
  if (errors > 0) {
    return (
      <div class="health bad">
        <Icon name="error" size={24} />
        <div>
          <strong>{t.unsound(errors)}</strong>
          {opening.length > 0 && <p>{overview.memory === undefined ? t.noGuest : t.notWhole}</p>}
          <ul class="plain">
            {problems.slice(0, MOST_PROBLEMS).map((problem, i) => (
              <li key={i}>
                <ProblemLine problem={problem} />
              </li>
            ))}
          </ul>
        </div>
        {action}
      </div>
    );
  }
  if (known.state === "ready" && known.value.unsupported === undefined) {
    const { warnings } = known.value;
    return (
      <div class={warnings > 0 ? "health fair" : "health good"}>
        <Icon name={warnings > 0 ? "warning" : "check"} size={24} />
        <div>
          <strong>{t.sound}</strong>
          <p>{warnings > 0 ? t.soundWarnings(warnings) : t.soundText}</p>
        </div>
        {known.value.findings.length > 0 && action}
      </div>
    );
  }
  if (known.state === "ready" || known.state === "failed") {
    return (
      <div class="health">
        <Icon name="note" size={24} />
        <div>
          <strong>{t.unchecked}</strong>
          <p>
            {known.state === "ready"
              ? t.unverifiable(overview.identity.title)
              : visible(known.problem.message)}
          </p>
        </div>
      </div>
    );
  }
  const share =
    known.state === "loading" && known.done !== undefined && known.total
      ? known.done / known.total
      : undefined;
  return (
    <div class="health">
      <progress {...(share === undefined ? {} : { value: share })} aria-label={t.checking} />
      <div>
        <strong>{t.checking}</strong>
      </div>
    </div>
  );
}

function ProblemLine({ problem }: { readonly problem: Problem }): JSX.Element {
  const { message, offset } = problem;
  return (
    <>
      {visible(message)}
      {offset !== undefined && (
        <>
          {" "}
          <button
            type="button"
            class="link"
            onClick={() => go({ view: "hex", params: { space: "file", at: hex(offset) } })}
          >
            <code>{hex(offset)}</code>
          </button>
        </>
      )}
    </>
  );
}

function Tiles({ overview }: { readonly overview: Overview }): JSX.Element {
  const { memory, processors, software, identity } = overview;
  const release = software.find(({ key }) => key === "release")?.value;
  const banner = software.find(({ key }) => key === "banner")?.value;
  const version = release ?? /^Linux version (\S+)/.exec(banner ?? "")?.[1];
  const system = version === undefined ? "" : "Linux";
  const whole = memory === undefined ? 0 : memory.present + memory.zero + memory.absent;
  const modes = [...new Set(processors.flatMap(({ mode }) => mode ?? []))];
  return (
    <dl class="tiles">
      <Tile
        label={t.memory}
        value={memory === undefined ? t.noMemory : bytes(whole)}
        note={
          memory === undefined
            ? ""
            : memory.absent === 0
              ? memory.zero > 0
                ? `${t.allThere}, ${t.zeroPart(bytes(memory.zero))}`
                : t.allThere
              : t.ofWhole(percent(memory.present + memory.zero, whole))
        }
        bad={memory !== undefined && memory.absent > 0}
        view="map"
      />
      <Tile
        label={t.processors}
        value={String(processors.length)}
        note={modes.slice(0, 2).join(", ")}
        view="processors"
      />
      <Tile
        label={t.kernel}
        value={version ?? "–"}
        note={version !== undefined ? system : overview.searched ? t.unknownKernel : t.notLookedFor}
        view="linux"
      />
      <Tile
        label={t.file}
        value={identity.size === undefined ? "–" : bytes(identity.size)}
        note={
          identity.compression === undefined ? identity.title : `${identity.title}, ${identity.compression}`
        }
        view="file"
      />
    </dl>
  );
}

/** Where nothing pointed at a kernel, the search of all memory is the user's to start. */
function KernelSearch({
  file,
  overview,
}: {
  readonly file: OpenFile;
  readonly overview: Overview;
}): JSX.Element | null {
  const { searched, software, memory } = overview;
  const present = memory?.present ?? 0;
  if (searched || software.length > 0 || present === 0) return null;
  const isOffered = present > SEARCHED_UNASKED;
  if (!file.searching.value && !isOffered) return null;
  return (
    <div class="health">
      {file.searching.value ? <progress aria-label={t.searching} /> : <Icon name="search" size={24} />}
      <div>
        <strong>{file.searching.value ? t.searching : t.notSearched}</strong>
        <p>{t.searchText(bytes(present))}</p>
      </div>
      {!file.searching.value && (
        <button type="button" class="button" onClick={() => void findKernel(file)}>
          {t.search}
        </button>
      )}
    </div>
  );
}

interface TileProps {
  readonly label: string;
  readonly value: string;
  readonly note: string;
  readonly bad?: boolean;
  readonly view: "map" | "processors" | "linux" | "file";
}

function Tile({ label, value, note, bad = false, view }: TileProps): JSX.Element {
  return (
    <div class="tile">
      <dt>
        <button type="button" class="tile-link" onClick={() => go({ view })}>
          {label}
        </button>
      </dt>
      <dd>
        <strong class={value.length > 14 ? "long" : ""}>{visible(value)}</strong>
        <span class={bad ? "tile-note warn" : "tile-note"}>{visible(note)}</span>
      </dd>
    </div>
  );
}

function Memory({ file }: { readonly file: OpenFile }): JSX.Element | null {
  const known = file.known.memory.value;
  if (known.state !== "ready") return null;
  const open = (): void => go({ view: "map" });
  return (
    <Card
      title={t.where}
      action={
        <button type="button" class="link" onClick={open}>
          {t.openMap} <Icon name="right" size={14} />
        </button>
      }
    >
      <MiniStrip table={known.value} samples={samplesOf(file, known.value)} onOpen={open} />
      <Legend table={known.value} />
    </Card>
  );
}

/** Layers as bars, each within the one that holds it. */
function Layers({ layers, size }: { readonly layers: readonly Layer[]; readonly size: number }): JSX.Element {
  return (
    <ol class="layers">
      {layers.map(({ name, start, end, version }, i) => (
        <li key={i} style={{ marginInlineStart: `${i * 14}px` }}>
          <button
            type="button"
            class="layer"
            onClick={() => go({ view: "hex", params: { space: "file", at: hex(start) } })}
          >
            <strong>{visible(name)}</strong>
            {version !== undefined && <span>{visible(version)}</span>}
            <span class="quiet">
              {hex(start)} · {bytes(Math.min(end, size) - start)}
            </span>
          </button>
        </li>
      ))}
    </ol>
  );
}

function Details({ file }: { readonly file: OpenFile }): JSX.Element {
  return (
    <details
      class="card details"
      onToggle={(event) => event.currentTarget.open && void load(file, "document")}
    >
      <summary>
        {t.document} <span class="quiet">{t.documentHint}</span>
      </summary>
      {file.known.document.value.state !== "idle" && (
        <Loaded file={file} what="document">
          {(text) => <Tree text={text} />}
        </Loaded>
      )}
    </details>
  );
}

function Tree({ text }: { readonly text: string }): JSX.Element {
  const document = useMemo(() => JSON.parse(text) as Record<string, unknown>, [text]);
  return (
    <div class="json">
      {Object.entries(document).map(([name, value]) => (
        <JsonTree key={name} name={name} value={value} />
      ))}
    </div>
  );
}
