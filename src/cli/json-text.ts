import { hexText } from "../binary/text.js";

/**
 * The text of JSON documents in pieces, so that no document need be in memory as one text: the same as
 * `JSON.stringify` with an indent of two makes. Bigints are hexadecimal strings, bytes are hexadecimal text.
 */

/** Characters of a piece, about: what is written at once. */
export const PIECE = 64 << 10;
/** Objects and lists within each other that are taken apart: what is deeper is small. */
const DEPTH = 5;

function replaced(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) return hexText(value);
  if (value instanceof Map) return Object.fromEntries(value as Map<string, unknown>);
  return value;
}

/** The text of a value whose first line follows `indent` and what is before it; a newline in a string is written `\\n`. */
const textOf = (value: unknown, indent: string): string =>
  // nothing for what JSON hasn't, like undefined in a list
  ((JSON.stringify(value, replaced, 2) as string | undefined) ?? "null").replaceAll("\n", `\n${indent}`);

/** The text of a document, in pieces. */
export function* jsonPieces(document: object): Generator<string> {
  let text = "";
  for (const part of partsOf(document, "", DEPTH)) {
    text += part;
    if (text.length < PIECE) continue;
    yield text;
    text = "";
  }
  if (text !== "") yield text;
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || "toJSON" in value) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function* partsOf(given: unknown, indent: string, depth: number): Generator<string> {
  const value = replaced("", given);
  const inner = `${indent}  `;
  if (depth > 0 && Array.isArray(value) && value.length > 0) {
    let before = "[";
    for (const item of value as readonly unknown[]) {
      yield `${before}\n${inner}`;
      yield* partsOf(item, inner, depth - 1);
      before = ",";
    }
    yield `\n${indent}]`;
  } else if (depth > 0 && isPlain(value)) {
    let before = "{";
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue;
      yield `${before}\n${inner}${JSON.stringify(name)}: `;
      yield* partsOf(member, inner, depth - 1);
      before = ",";
    }
    yield before === "{" ? "{}" : `\n${indent}}`;
  } else yield textOf(value, indent);
}

const MEMBER = "  ";
const ITEM = "    ";

/** The text of a document up to the items of a list that follows the members of `head`, of which there is one at least. */
export const listBegin = (head: object, list: string): string =>
  `${textOf(head, "").slice(0, -"\n}".length)},\n${MEMBER}${JSON.stringify(list)}: [`;

/** The text of an item of that list. @param index how many are before it */
export const itemText = (item: object, index: number): string =>
  `${index === 0 ? "" : ","}\n${ITEM}${textOf(item, ITEM)}`;

/** The text of the rest: the members of `rest`, one at least, which follow a list of `length` items. */
export const listEnd = (rest: object, length: number): string =>
  `${length === 0 ? "" : `\n${MEMBER}`}],${textOf(rest, "").slice("{".length)}`;
