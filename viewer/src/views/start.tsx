import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { openBlobs, openSample, openUrl } from "../state/opening.js";
import { recent } from "../state/recent.js";
import { texts } from "../texts.js";
import { Icon } from "../ui/icons.js";
import { visible } from "../format.js";

/** Whether an address may be read: https, or this computer. */
function isReadable(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, origin } = new URL(text);
  return protocol === "https:" || origin === location.origin;
}

export function StartView(): JSX.Element {
  const picker = useRef<HTMLInputElement>(null);
  const [url, setUrl] = useState("");
  const [bad, setBad] = useState(false);
  const t = texts.start;
  return (
    <section class="start" aria-label={t.title}>
      <h1>{t.title}</h1>
      <p class="lead">{t.lead}</p>
      <div class="drop-zone">
        <div class="drop-art" aria-hidden="true">
          {Array.from({ length: 48 }, (_, i) => (
            <i key={i} class={`cell c${(i * 7 + (i >> 2) * 5) % 6}`} />
          ))}
        </div>
        <p class="drop-text">{t.drop}</p>
        <div class="drop-actions">
          <button type="button" class="button primary" onClick={() => picker.current?.click()}>
            <Icon name="open" /> {t.pick}
          </button>
          <button type="button" class="button" onClick={() => void openSample()}>
            {t.sample}
          </button>
        </div>
        <p class="privacy">
          <Icon name="lock" size={15} /> {t.private}
        </p>
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          aria-label={t.pick}
          onChange={(event) => {
            openBlobs(Array.from(event.currentTarget.files ?? []));
            event.currentTarget.value = "";
          }}
        />
      </div>
      <form
        class="url-form"
        onSubmit={(event) => {
          event.preventDefault();
          setBad(!isReadable(url));
          if (isReadable(url)) openUrl(url);
        }}
      >
        <label class="field">
          <span class="sr-only">{t.url}</span>
          <input
            type="url"
            value={url}
            placeholder={t.urlHint}
            title={t.url}
            aria-invalid={bad}
            spellcheck={false}
            onInput={(event) => {
              setUrl(event.currentTarget.value);
              setBad(false);
            }}
          />
        </label>
        <button type="submit" class="button">
          {t.urlOpen}
        </button>
        {bad && <span role="alert">{t.urlBad}</span>}
      </form>
      {recent.value.length > 0 && (
        <p class="recent">
          <span class="quiet" title={texts.shell.browserForgets}>
            {t.recent}
          </span>
          {recent.value.map((name) => (
            <span key={name} class="chip">
              {visible(name)}
            </span>
          ))}
        </p>
      )}
      <dl class="formats" aria-label={t.reads}>
        {t.formats.map(([name, what]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
