import type { JSX } from "preact";
import type { OpenFile } from "../state/files.js";
import { texts } from "../texts.js";

export function ExportView(_: { readonly file: OpenFile }): JSX.Element {
  return (
    <section class="view" aria-label={texts.views.export}>
      <h2>{texts.views.export}</h2>
    </section>
  );
}
