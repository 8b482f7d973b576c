import { AbsentError } from "../findings/errors.js";
import { decodeText, type KernelObject } from "./object.js";
import { hex } from "./rules.js";
import type { KernelType } from "./types.js";

/** Elements of an array that are shown. */
const MOST_ELEMENTS = 16;
const DEEPEST = 8;

/** A value in memory for people and documents: numbers, texts, objects by member, arrays; null for what can't be read. */
export type MemoryValue =
  | string
  | number
  | bigint
  | null
  | readonly MemoryValue[]
  | { readonly [member: string]: MemoryValue };

/** The value of a member of a structure, or of the whole when `path` is empty. */
export function valueOf(object: KernelObject, type: KernelType, path: string, depth = 0): MemoryValue {
  try {
    return decode(object, type, path, depth);
  } catch (error) {
    if (error instanceof AbsentError) return null;
    throw error;
  }
}

function decode(object: KernelObject, type: KernelType, path: string, depth: number): MemoryValue {
  switch (type.kind) {
    case "struct":
    case "union":
      return depth > DEEPEST ? null : members(object, type, path, depth);
    case "array":
      return elements(object, type, path, depth);
    case "pointer":
      return hex(object.pointer(path));
    case "enum": {
      const value = object.bigint(path);
      return type.enumerators().find((known) => known.value === value)?.name ?? Number(value);
    }
    case "int": {
      const value = object.bigint(path);
      const number = Number(value);
      return Number.isSafeInteger(number) ? number : hex(BigInt.asUintN(64, value));
    }
    default:
      return null;
  }
}

function members(object: KernelObject, type: KernelType, path: string, depth: number): MemoryValue {
  const values: Record<string, MemoryValue> = {};
  const add = (of: KernelType, level: number): void => {
    for (const member of of.members()) {
      if (member.name === "") {
        if (level < DEEPEST) add(member.type, level + 1);
        continue;
      }
      const at = path === "" ? member.name : `${path}.${member.name}`;
      values[member.name] = valueOf(object, member.type, at, depth + 1);
    }
  };
  add(type, 0);
  return values;
}

function elements(object: KernelObject, type: KernelType, path: string, depth: number): MemoryValue {
  const element = type.target();
  if (element === undefined) return null;
  if (element.kind === "int" && element.size === 1 && type.count > 0) {
    const bytes = object.bytes(path);
    const end = bytes.indexOf(0);
    const text = decodeText(bytes);
    // bytes that are a text up to zeros
    if (end >= 0 && bytes.subarray(end).every((byte) => byte === 0) && /^[\x20-\x7e]*$/.test(text))
      return text;
  }
  return Array.from({ length: Math.min(type.count, MOST_ELEMENTS) }, (_, i) =>
    valueOf(object, element, `${path}[${i}]`, depth + 1),
  );
}
