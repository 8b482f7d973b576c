import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Problem } from "../../../src/open/session/protocol.js";
import { hex, percent, visible } from "../format.js";
import { type Known, load, type OpenFile, retry } from "../state/files.js";
import { texts } from "../texts.js";
import { Icon } from "./icons.js";

/** An error in place of what it kept from being shown. */
export function ProblemBox({
  problem,
  file,
}: {
  readonly problem: Problem;
  readonly file?: OpenFile;
}): JSX.Element {
  const isOurs = problem.code === "internal" || problem.code === "viewer/internal";
  return (
    <div class="problem" role="alert">
      <Icon name="error" size={20} />
      <div>
        <strong>{isOurs ? texts.shell.internal : texts.shell.failed}</strong>
        <p>{visible(problem.message)}</p>
        <p class="quiet">
          <code>{problem.code}</code>
          {problem.offset !== undefined && ` · ${texts.findings.at} ${hex(problem.offset)}`}
          {problem.record !== undefined && ` · ${visible(problem.record)}`}
        </p>
        {file !== undefined && (
          <button type="button" class="button" onClick={() => retry(file)}>
            {texts.shell.retry}
          </button>
        )}
      </div>
    </div>
  );
}

function Waiting({
  done,
  total,
}: {
  readonly done?: number | undefined;
  readonly total?: number | undefined;
}): JSX.Element {
  const share =
    done === undefined || total === undefined || total === 0 ? undefined : Math.min(1, done / total);
  return (
    <div class="waiting" role="status">
      <progress {...(share === undefined ? {} : { value: share })} />
      <span>{share === undefined ? texts.shell.loading : texts.shell.loadingShare(percent(share, 1))}</span>
    </div>
  );
}

interface LoadedProps<K extends keyof Known> {
  readonly file: OpenFile;
  readonly what: K;
  readonly children: (value: Known[K]) => ComponentChildren;
}

/** Shows something of a file once it is known; asks for it, and shows what goes wrong. */
export function Loaded<K extends keyof Known>({ file, what, children }: LoadedProps<K>): JSX.Element {
  const known = file.known[what].value;
  const opened = file.known.open.value.state;
  useEffect(() => {
    if (known.state === "idle" && opened === "ready") void load(file, what);
  }, [file, what, known.state, opened]);
  const { open } = file.known;
  if (known.state === "ready") return <>{children(known.value)}</>;
  if (known.state === "failed") return <ProblemBox problem={known.problem} file={file} />;
  if (open.value.state === "failed") return <ProblemBox problem={open.value.problem} file={file} />;
  return <Waiting {...(known.state === "loading" ? { done: known.done, total: known.total } : {})} />;
}
