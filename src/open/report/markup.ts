/** Text that is HTML already. Everything else that goes into a page is escaped. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Characters with a meaning in HTML, and those that turn the direction of text or are no text at all. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g,
      "\ufffd",
    )
    .replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Takes text as HTML: only for what this program wrote itself. */
export const raw = (text: string): Markup => new Markup(text);

type Part = string | Markup | readonly (string | Markup)[];

function markupOf(part: Part): string {
  if (typeof part === "string") return escapeHtml(part);
  if (part instanceof Markup) return part.text;
  return part.map(markupOf).join("");
}

/** A template: its own text is HTML, values are escaped unless they are Markup. */
export function html(strings: TemplateStringsArray, ...values: readonly Part[]): Markup {
  return new Markup(
    strings.map((text, i) => text + (i < values.length ? markupOf(values[i] ?? "") : "")).join(""),
  );
}
