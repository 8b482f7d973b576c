import { latin1 } from "../../../binary/layout.js";
import type { ByteSource } from "../../../io/byte-source.js";
import { readBefore } from "../../../io/lost-bytes.js";

/** One field of a device's description: `count` elements of `size` bytes each, one after another. */
export interface FieldDescription {
  readonly name: string;
  readonly type: string;
  /** Bytes of one element, nested fields and subsections included. */
  readonly size: number;
  /** Elements; undefined for a single value. */
  readonly count?: number;
  /** This entry is one element of an array whose elements differ. */
  readonly index?: number;
  /** What one element consists of. */
  readonly struct?: StructDescription;
}

export interface StructDescription {
  readonly name: string;
  readonly version: number;
  readonly fields: readonly FieldDescription[];
  readonly subsections: readonly StructDescription[];
  /** Bytes in all; in a subsection its name and version in front are not counted. */
  readonly size: number;
  /** Its arrays may be longer than they say: QEMU before 10 takes the size of all elements from an empty first one. */
  readonly hasEmptyPlaces: boolean;
}

export interface DeviceDescription extends StructDescription {
  /** Name of the section. */
  readonly section: string;
  readonly instance: number;
  /** False for old-style devices, whose version is only in their section. */
  readonly tellsVersion: boolean;
}

/** The description at the end of a stream: what its device sections consist of. */
export interface Description {
  readonly pageSize: number | undefined;
  readonly devices: readonly DeviceDescription[];
  readonly configuration: StructDescription | undefined;
}

/** Nesting that no device has. */
const DEEPEST = 64;
/** Descriptions measured are of 100 KB; a thousand devices stay below this. */
export const LARGEST_DESCRIPTION = 32 << 20;

/** Why a text is not a description; thrown and caught in this directory only. */
export class DescriptionError extends Error {}

type Json = Readonly<Record<string, unknown>>;

function object(value: unknown, what: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new DescriptionError(`${what} is no object`);
  return value as Json;
}

function list(value: unknown, what: string): readonly unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new DescriptionError(`${what} is no list`);
  return value;
}

function text(value: unknown, what: string): string {
  if (typeof value !== "string") throw new DescriptionError(`${what} is no text`);
  return value;
}

function count(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw new DescriptionError(`${what} is no length or number`);
  return value;
}

/** @throws DescriptionError */
export function parseDescription(bytes: Uint8Array): Description {
  let document: unknown;
  try {
    document = JSON.parse(latin1(bytes));
  } catch (error) {
    throw new DescriptionError(`no JSON: ${(error as Error).message}`);
  }
  const root = object(document, "the description");
  return {
    pageSize: root["page_size"] === undefined ? undefined : count(root["page_size"], "page_size"),
    devices: list(root["devices"], "devices").map((entry) => {
      const device = object(entry, "a device");
      const section = text(device["name"], "a device's name");
      const struct = parseStruct(device, section, 0);
      // old-style devices have a size and no fields
      const size = device["fields"] === undefined ? count(device["size"] ?? 0, `${section}: size`) : 0;
      return {
        ...struct,
        section,
        instance: count(device["instance_id"], `${section}: instance_id`),
        tellsVersion: device["version"] !== undefined,
        size: struct.size + size,
      };
    }),
    configuration:
      root["configuration"] === undefined
        ? undefined
        : parseStruct(object(root["configuration"], "configuration"), "configuration", 0),
  };
}

function parseStruct(json: Json, fallback: string, depth: number): StructDescription {
  if (depth > DEEPEST) throw new DescriptionError(`${fallback}: nested deeper than any device`);
  const name = json["vmsd_name"] === undefined ? fallback : text(json["vmsd_name"], `${fallback}: vmsd_name`);
  const fields = list(json["fields"], `${name}: fields`).map((field) => parseField(field, name, depth));
  const subsections = list(json["subsections"], `${name}: subsections`).map((entry) =>
    parseStruct(object(entry, `${name}: a subsection`), "", depth + 1),
  );
  const own = fields.reduce((sum, field) => sum + field.size * (field.count ?? 1), 0);
  const size = subsections.reduce((sum, sub) => sum + subsectionHead(sub.name) + sub.size, own);
  if (!Number.isSafeInteger(size)) throw new DescriptionError(`${name}: longer than any file`);
  return {
    name,
    version: json["version"] === undefined ? 0 : count(json["version"], `${name}: version`),
    fields,
    subsections,
    size,
    hasEmptyPlaces: fields.some(hasEmptyPlaces) || subsections.some((sub) => sub.hasEmptyPlaces),
  };
}

/** An array of structures is said to consist of single bytes without fields: the mark of an empty place. */
function hasEmptyPlaces({ count: elements, size, struct }: FieldDescription): boolean {
  if (struct === undefined) return false;
  return struct.hasEmptyPlaces || (elements !== undefined && size === 1 && struct.fields.length === 0);
}

function parseField(entry: unknown, owner: string, depth: number): FieldDescription {
  const json = object(entry, `${owner}: a field`);
  const name = text(json["name"], `${owner}: a field's name`);
  const where = `${owner}.${name}`;
  const nested = json["struct"] ?? (json["fields"] === undefined ? undefined : json);
  const struct = nested === undefined ? undefined : parseStruct(object(nested, where), name, depth + 1);
  const size = count(json["size"] ?? struct?.size, `${where}: size`);
  return {
    name,
    type: text(json["type"], `${where}: type`),
    size,
    ...(json["array_len"] === undefined ? {} : { count: count(json["array_len"], `${where}: array_len`) }),
    ...(json["index"] === undefined ? {} : { index: count(json["index"], `${where}: index`) }),
    ...(struct === undefined ? {} : { struct }),
  };
}

/** Bytes in front of a subsection's fields: type, length of the name, name, version. */
export const subsectionHead = (name: string): number => 1 + 1 + name.length + 4;

const OPENING = "{".charCodeAt(0);
const MARK = 0x06;
const BLOCK = 1 << 20;

/**
 * Finds the description from the end of a file: an opening brace whose length in front reaches the end exactly,
 * after the mark of a description and that of the stream's end. Returns where its JSON begins.
 */
export async function findDescription(
  source: ByteSource,
  start: number,
): Promise<{ offset: number; length: number } | undefined> {
  const lowest = Math.max(start, source.size - LARGEST_DESCRIPTION);
  // six bytes of the block after it are looked at again, for a mark across the border
  const HEAD = 6;
  for (let end = source.size; end > lowest + HEAD; ) {
    const from = Math.max(lowest, end - BLOCK);
    const bytes = new Uint8Array(Math.min(source.size, end + HEAD) - from);
    if ((await readBefore(source, from, bytes)) < bytes.length) return undefined;
    for (let at = bytes.length - 1; at >= HEAD; at -= 1) {
      if (bytes[at] !== OPENING || bytes[at - 5] !== MARK || bytes[at - 6] !== 0) continue;
      const length = new DataView(bytes.buffer).getUint32(at - 4);
      if (from + at + length === source.size) return { offset: from + at, length };
    }
    end = from;
  }
  return undefined;
}
