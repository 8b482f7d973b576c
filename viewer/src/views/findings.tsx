import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Severity } from "../../../src/findings/rule.js";
import type { Findings, Problem } from "../../../src/open/session/protocol.js";
import { count, hex, visible } from "../format.js";
import type { OpenFile } from "../state/files.js";
import { go } from "../state/route.js";
import { texts } from "../texts.js";
import { Icon } from "../ui/icons.js";
import { Loaded } from "../ui/loaded.js";

const t = texts.findings;

export function FindingsView({ file }: { readonly file: OpenFile }): JSX.Element {
  const overview = file.known.overview.value;
  const opening = overview.state === "ready" ? overview.value.problems : [];
  return (
    <section class="view findings" aria-label={texts.views.findings}>
      {opening.length > 0 && (
        <section class="card">
          <h3>{t.opening}</h3>
          <ol class="finding-list">
            {opening.map((problem, i) => (
              <Finding key={i} problem={problem} />
            ))}
          </ol>
        </section>
      )}
      <Loaded file={file} what="verify">
        {(findings) => <List findings={findings} />}
      </Loaded>
    </section>
  );
}

function List({ findings }: { readonly findings: Findings }): JSX.Element {
  const [only, setOnly] = useState<Severity | undefined>(undefined);
  if (findings.unsupported !== undefined) {
    return (
      <>
        <h2>{texts.views.findings}</h2>
        <p class="quiet">{texts.overview.unverifiable(findings.unsupported)}</p>
      </>
    );
  }
  const counts: Readonly<Record<Severity, number>> = {
    error: findings.errors,
    warning: findings.warnings,
    note: findings.notes,
  };
  const shown = findings.findings.filter(({ severity }) => only === undefined || severity === only);
  return (
    <>
      <div class="toolbar">
        <h2>{texts.views.findings}</h2>
        <span class={findings.valid ? "verdict good" : "verdict bad"}>
          <Icon name={findings.valid ? "check" : "error"} size={16} /> {findings.verdict}
        </span>
        <div class="segmented" role="group">
          <button type="button" aria-pressed={only === undefined} onClick={() => setOnly(undefined)}>
            {t.all}
          </button>
          {(["error", "warning", "note"] as const).map((severity) => (
            <button
              key={severity}
              type="button"
              aria-pressed={only === severity}
              disabled={counts[severity] === 0}
              onClick={() => setOnly(severity)}
            >
              {t[severity]} <b>{count(counts[severity])}</b>
            </button>
          ))}
        </div>
      </div>
      {shown.length === 0 ? (
        <p class="empty">
          <Icon name="check" size={28} />
          {t.none}
        </p>
      ) : (
        <ol class="finding-list">
          {shown.map((problem, i) => (
            <Finding key={i} problem={problem} />
          ))}
        </ol>
      )}
      {findings.omitted.map(([code, more]) => (
        <p key={code} class="quiet">
          {t.omitted(more, code)}
        </p>
      ))}
    </>
  );
}

function Finding({ problem }: { readonly problem: Problem }): JSX.Element {
  const { severity, message, code, offset, record, spec, explanation } = problem;
  return (
    <li class={`finding ${severity}`}>
      <Icon name={severity} size={18} />
      <div>
        <p class="finding-message">
          <span class="sr-only">{t.severity[severity]}: </span>
          {visible(message)}
        </p>
        <p class="finding-where">
          {offset !== undefined && (
            <button
              type="button"
              class="link"
              title={t.show}
              onClick={() => go({ view: "hex", params: { space: "file", at: hex(offset) } })}
            >
              <code>{hex(offset)}</code>
            </button>
          )}
          {record !== undefined && <span>{visible(record)}</span>}
          {code !== "" && <code>{code}</code>}
          {spec !== undefined && spec !== "" && <span>{spec}</span>}
        </p>
        {explanation !== undefined && <p class="finding-text">{explanation}</p>}
      </div>
    </li>
  );
}
