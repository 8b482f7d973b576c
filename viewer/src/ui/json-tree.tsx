import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { visible } from "../format.js";
import { texts } from "../texts.js";

/** Members shown at first of a long list. */
const STEP = 100;
const LONGEST = 400;

function leaf(value: unknown): JSX.Element {
  if (typeof value === "string") {
    const text = value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value;
    return <span class="json-string">{visible(text)}</span>;
  }
  return <span class="json-value">{String(value)}</span>;
}

/** A document as a tree; branches are made when they are opened. */
export function JsonTree({
  name,
  value,
  open = false,
}: {
  readonly name: string;
  readonly value: unknown;
  readonly open?: boolean;
}): JSX.Element {
  const [isOpen, setOpen] = useState(open);
  const [most, setMost] = useState(STEP);
  if (typeof value !== "object" || value === null) {
    return (
      <div class="json-leaf">
        <span class="json-name">{visible(name)}</span> {leaf(value)}
      </div>
    );
  }
  const entries = Object.entries(value);
  const size = Array.isArray(value) ? `${entries.length}` : "";
  return (
    <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span class="json-name">{visible(name)}</span> <span class="quiet">{size}</span>
      </summary>
      {isOpen && (
        <div class="json-children">
          {entries.slice(0, most).map(([key, one]) => (
            <JsonTree key={key} name={key} value={one} />
          ))}
          {entries.length > most && (
            <button type="button" class="link" onClick={() => setMost(most + 10 * STEP)}>
              {texts.overview.more(entries.length - most)}
            </button>
          )}
        </div>
      )}
    </details>
  );
}
