import type { JSX } from "preact";
import type { OpenFile } from "../state/files.js";
import { texts } from "../texts.js";

export function CompareView(_: { readonly file: OpenFile }): JSX.Element {
  return (
    <section class="view" aria-label={texts.views.compare}>
      <h2>{texts.views.compare}</h2>
      <p class="quiet">{texts.compare.needTwo}</p>
    </section>
  );
}
