import type { JSX } from "preact";
import type { LinuxSummary } from "../../../src/open/session/linux-protocol.js";
import { visible } from "../format.js";
import { texts } from "../texts.js";

const t = texts.linux;
const SECOND = 1e9;

export function SystemView({ summary }: { readonly summary: LinuxSummary }): JSX.Element {
  const { facts, cpus, hung, missing } = summary;
  return (
    <>
      <section class="card">
        <dl class="facts">
          {facts.map(({ key, value }) => (
            <div key={key} class={key === "panic" ? "bad-text" : ""}>
              <dt>{texts.facts[key] ?? key}</dt>
              <dd>{visible(value)}</dd>
            </div>
          ))}
        </dl>
      </section>
      <section class="card">
        <h3>{t.cpus}</h3>
        <table>
          <tbody>
            {cpus.map(({ cpu, task, at }) => (
              <tr key={cpu}>
                <td>{cpu}</td>
                <td>{visible(task ?? "–")}</td>
                <td>
                  <code>{visible(at ?? "")}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {hung.length > 0 && (
        <section class="card">
          <h3>{t.hung}</h3>
          <ul class="plain">
            {hung.map(({ pid, comm, blocked }) => (
              <li key={pid}>
                {pid} {visible(comm)} <span class="quiet">{t.hungFor((blocked / SECOND).toFixed(0))}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
      {missing.length > 0 && (
        <section class="card">
          <h3>{t.missing}</h3>
          <dl class="facts">
            {missing.map(({ key, value }) => (
              <div key={key}>
                <dt>{texts.facts[key] ?? key}</dt>
                <dd>{visible(value)}</dd>
              </div>
            ))}
          </dl>
        </section>
      )}
    </>
  );
}
