import { hexText } from "../../binary/text.js";
import { type ByteOrder, type FieldPlace, viewOf } from "../../binary/layout.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { GuestscopeError } from "../../findings/errors.js";
import { layoutSections } from "../catalogue.js";
import type { FieldRow } from "./protocol.js";

/** A declaration with its reader. */
interface ReadableLayout {
  readonly name: string;
  readonly size: number;
  readonly spec: string;
  readonly fields: readonly FieldPlace[];
  read(view: DataView, at: number, order: ByteOrder): Readonly<Record<string, unknown>>;
}

let layouts: Promise<ReadonlyMap<string, ReadableLayout>> | undefined;

/** Every declared structure by its name, loaded when the first is asked for. */
function layoutsByName(): Promise<ReadonlyMap<string, ReadableLayout>> {
  layouts ??= layoutSections().then(
    (sections) =>
      new Map(sections.flatMap((section) => section.layouts.map((one) => [one.name, one as ReadableLayout]))),
  );
  return layouts;
}

/** Structures decoded for one part of a file at most. */
const MOST_STRUCTURES = 64;
const LONGEST_VALUE = 96;

function printValue(value: unknown): string {
  if (typeof value === "bigint" || typeof value === "number") {
    const hexadecimal = `0x${value.toString(16)}`;
    return value > 9 ? `${hexadecimal} (${value.toString()})` : value.toString();
  }
  if (value instanceof Uint8Array) {
    const shown = hexText(value.subarray(0, LONGEST_VALUE / 3), " ");
    return `${shown}${value.length > LONGEST_VALUE / 3 ? " …" : ""}`;
  }
  if (Array.isArray(value)) return value.slice(0, 16).map(printValue).join(", ");
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** Reads a structure by its declaration; undefined where the source ends before it, or there is no such declaration. */
export async function readStructure(
  source: ByteSource,
  name: string,
  offset: number,
  order: ByteOrder,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const layout = (await layoutsByName()).get(name);
  if (layout === undefined) return undefined;
  const bytes = new Uint8Array(layout.size);
  if ((await readFully(source, offset, bytes)) < layout.size) return undefined;
  try {
    return layout.read(viewOf(bytes), 0, order);
  } catch (error) {
    // a length no memory has: the field can't be shown
    if (error instanceof GuestscopeError) return undefined;
    throw error;
  }
}

/**
 * The fields of structures that follow one another from `start` on, within [start, end). The last name is repeated
 * while there is room.
 */
export async function fieldsAt(
  source: ByteSource,
  start: number,
  end: number,
  structures: readonly string[],
  order: ByteOrder,
): Promise<FieldRow[]> {
  const rows: FieldRow[] = [];
  let at = start;
  for (let i = 0; i < MOST_STRUCTURES; i += 1) {
    const name = structures[Math.min(i, structures.length - 1)];
    const layout = name === undefined ? undefined : (await layoutsByName()).get(name);
    if (layout === undefined || at + layout.size > end) break;
    const values = await readStructure(source, layout.name, at, order);
    if (values === undefined) break;
    for (const { name: field, offset, size, type, meaning } of layout.fields) {
      rows.push({
        structure: layout.name,
        spec: layout.spec,
        name: field,
        offset: at + offset,
        size,
        type,
        meaning,
        value: printValue(values[field]),
      });
    }
    at += layout.size;
  }
  return rows;
}
