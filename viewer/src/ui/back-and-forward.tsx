import type { JSX } from "preact";
import { texts } from "../texts.js";
import { Icon } from "./icons.js";

/** The browser's own history, for those who look for it in the page. */
export function BackAndForward(): JSX.Element {
  const { back, forward } = texts.shell;
  return (
    <span class="segmented">
      <button type="button" title={back} aria-label={back} onClick={() => history.back()}>
        <Icon name="back" size={14} />
      </button>
      <button type="button" title={forward} aria-label={forward} onClick={() => history.forward()}>
        <Icon name="right" size={14} />
      </button>
    </span>
  );
}
