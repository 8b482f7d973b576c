import type { JSX } from "preact";
import type { OpenFile } from "../state/files.js";
import { texts } from "../texts.js";

export function LinuxView(_: { readonly file: OpenFile }): JSX.Element {
  return (
    <section class="view" aria-label={texts.views.linux}>
      <h2>{texts.views.linux}</h2>
      <p class="quiet">{texts.linux.notYet}</p>
    </section>
  );
}
