import { writtenOut } from "../binary/text.js";
/**
 * What a terminal would act on or hide: control characters but for tab and newline, marks that turn the direction of
 * text, line separators, lone surrogates.
 */
const CONTROLS =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

/** Text with every character that a terminal would act on written out: `\x1b`, `\u{202e}`. */
export function escapeControls(text: string): string {
  return text.replace(CONTROLS, writtenOut);
}

/** JSON text with the same characters as JSON's own escapes: it stays the same document. */
export function escapeJsonControls(json: string): string {
  return json.replace(
    CONTROLS,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );
}
