import type { JSX } from "preact";
import type { Processor, RegisterGroup } from "../../../src/open/session/protocol.js";
import { hex, padded, visible } from "../format.js";
import type { OpenFile } from "../state/files.js";
import { go, note, route } from "../state/route.js";
import { texts } from "../texts.js";
import { Loaded } from "../ui/loaded.js";

const t = texts.processors;

export function ProcessorsView({ file }: { readonly file: OpenFile }): JSX.Element {
  return (
    <Loaded file={file} what="processors">
      {(processors) => <Page processors={processors} />}
    </Loaded>
  );
}

function Page({ processors }: { readonly processors: readonly Processor[] }): JSX.Element {
  const asked = Number(route.value.params.cpu ?? Number.NaN);
  const chosen = processors.find(({ id }) => id === asked) ?? processors[0];
  return (
    <section class="view processors" aria-label={texts.views.processors}>
      <div class="toolbar">
        <h2>{texts.views.processors}</h2>
        {processors.length > 1 && processors.length <= 16 && (
          <div class="segmented" role="group">
            {processors.map(({ id }) => (
              <button
                key={id}
                type="button"
                aria-pressed={id === chosen?.id}
                aria-label={t.title(id)}
                onClick={() => note({ cpu: String(id) })}
              >
                {id}
              </button>
            ))}
          </div>
        )}
        {processors.length > 16 && (
          <select
            value={String(chosen?.id)}
            aria-label={texts.views.processors}
            onChange={(event) => note({ cpu: event.currentTarget.value })}
          >
            {processors.map(({ id }) => (
              <option key={id} value={String(id)}>
                {t.title(id)}
              </option>
            ))}
          </select>
        )}
      </div>
      {chosen === undefined ? <p class="quiet">{t.none}</p> : <One processor={chosen} />}
    </section>
  );
}

function One({ processor }: { readonly processor: Processor }): JSX.Element {
  const { id, mode, caveat, code, groups, segments, translates } = processor;
  const follow = (address: bigint): void => {
    if (translates) go({ view: "hex", params: { space: `vcpu:${id}`, at: hex(address) } });
  };
  return (
    <>
      <p class="processor-head">
        <strong>{t.title(id)}</strong>
        {mode !== undefined && <span class="chip">{mode}</span>}
        {caveat !== undefined && <span class="chip warn">{visible(caveat)}</span>}
      </p>
      {groups.length === 0 && <p class="quiet">{t.unknown}</p>}
      {code !== undefined && (
        <section class="card">
          <h3>{t.code}</h3>
          <p class="code-window">
            <button type="button" class="link" onClick={() => follow(code.address + BigInt(code.at))}>
              <code>{hex(code.address)}</code>
            </button>
            <code>
              {Array.from(code.bytes, (byte, i) => (
                <span key={i} class={i === code.at ? "next" : ""}>
                  {padded(byte, 2)}{" "}
                </span>
              ))}
            </code>
          </p>
        </section>
      )}
      {groups.map((group) => (
        <Group key={group.name} group={group} follow={translates ? follow : undefined} />
      ))}
      {segments.length > 0 && (
        <section class="card">
          <h3>{t.segments}</h3>
          <div class="scroll-x">
            <table>
              <thead>
                <tr>
                  <th>{t.segment}</th>
                  <th>{t.selector}</th>
                  <th>{t.base}</th>
                  <th>{t.limit}</th>
                  <th>{t.meaning}</th>
                </tr>
              </thead>
              <tbody>
                {segments.map(({ name, selector, base, limit, meaning }) => (
                  <tr key={name}>
                    <td>{name}</td>
                    <td>
                      <code>{padded(selector, 4)}</code>
                    </td>
                    <td>
                      <code>{padded(base, 16)}</code>
                    </td>
                    <td>
                      <code>{hex(limit)}</code>
                    </td>
                    <td>{meaning}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      )}
    </>
  );
}

/** Registers whose values are addresses as a rule. */
const NOT_ADDRESSES = /^(rflags|cr[048]|dr[67]|pstate|efer|star|sfmask|pat|tsc|xcr0|cpsr)/;

function Group({
  group,
  follow,
}: {
  readonly group: RegisterGroup;
  readonly follow: ((address: bigint) => void) | undefined;
}): JSX.Element {
  return (
    <section class="card">
      <h3>{t.groups[group.name] ?? group.name}</h3>
      <dl class="registers">
        {group.registers.map(({ name, value, bits, meaning }) => {
          const text = padded(value, bits / 4);
          const zeros = /^0*/.exec(text.slice(0, -1))?.[0].length ?? 0;
          const body = (
            <code>
              <span class="leading">{text.slice(0, zeros)}</span>
              {text.slice(zeros)}
            </code>
          );
          const isAddress =
            follow !== undefined && group.name === "general" && value > 0xfffn && !NOT_ADDRESSES.test(name);
          return (
            <div key={name}>
              <dt>{visible(name)}</dt>
              <dd>
                {isAddress ? (
                  <button type="button" class="link" title={t.bytes} onClick={() => follow(value)}>
                    {body}
                  </button>
                ) : (
                  body
                )}
                {meaning !== undefined && <span class="flags">{meaning}</span>}
              </dd>
            </div>
          );
        })}
      </dl>
    </section>
  );
}
