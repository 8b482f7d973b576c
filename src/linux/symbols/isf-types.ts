import { type Btf, type BtfHead, BTF_KIND } from "../btf.js";
import { latin1Bytes } from "../../binary/layout.js";
import type { DeclaredType } from "./declared-type.js";

/** Typedefs of typedefs, pointers to pointers: no program nests them this deep. */
const DEEPEST = 64;

const VOID = '{"kind":"base","name":"void"}';
const FUNCTION = '{"kind":"function"}';

/** BTF's encodings of integers. */
const SIGNED = 1;
const CHAR = 2;
const BOOL = 4;

/** A text in quotes, as JSON has it. */
export const quoted = (text: string): string => (/^[\w .]*$/.test(text) ? `"${text}"` : JSON.stringify(text));

/** Types of BTF in the words of volatility3's symbol files. */
export class IsfTypes {
  readonly #btf: Btf;
  /** Names of structures, unions and enumerations by their number, each only once among its kind. */
  readonly #names: readonly (string | undefined)[];
  readonly #described = new Map<number, string>();

  constructor(btf: Btf) {
    this.#btf = btf;
    this.#names = uniqueNames(btf);
  }

  /** Lines `"name":{…}` of integers and floats, of structures and unions, of enumerations. */
  *lines(part: "base" | "user" | "enum"): Iterable<string> {
    if (part === "base") {
      yield '"void":{"size":0,"signed":false,"kind":"void","endian":"little"}';
      yield '"pointer":{"size":8,"signed":false,"kind":"int","endian":"little"}';
    }
    const seen = new Set<string>();
    for (let id = 1; id < this.#btf.endId; id += 1) {
      const head = this.#btf.head(id);
      if (head === undefined) continue;
      const isUser = head.kind === BTF_KIND.struct || head.kind === BTF_KIND.union;
      const isEnum = head.kind === BTF_KIND.enum || head.kind === BTF_KIND.enum64;
      if (part === "user" && isUser) yield `${quoted(this.#names[id] ?? "")}:${this.#userType(head)}`;
      else if (part === "enum" && isEnum) yield `${quoted(this.#names[id] ?? "")}:${this.#enumeration(head)}`;
      else if (part === "base" && (head.kind === BTF_KIND.int || head.kind === BTF_KIND.float)) {
        const name = this.#btf.string(head.name);
        if (!seen.has(name)) yield `${quoted(name)}:${baseType(head)}`;
        seen.add(name);
      }
    }
  }

  #userType(head: BtfHead): string {
    const { view } = head;
    const fields: string[] = [];
    for (let i = 0; i < head.count; i += 1) {
      const at = head.at + 12 * i;
      const place = view.getUint32(at + 8, true);
      const bits = head.flag ? place >>> 24 : 0;
      const bitOffset = head.flag ? place & 0xff_ffff : place;
      const type = view.getUint32(at + 4, true);
      const name = this.#btf.string(view.getUint32(at, true));
      const shown = name === "" ? `"unnamed_field_${bitOffset >>> 3}_${i}"` : quoted(name);
      const mark = name === "" ? ',"anonymous":true' : "";
      fields.push(
        bits === 0
          ? `${shown}:{"type":${this.describe(type)},"offset":${bitOffset >>> 3}${mark}}`
          : `${shown}:${this.#bitField(type, bitOffset, bits)}`,
      );
    }
    const kind = head.kind === BTF_KIND.union ? "union" : "struct";
    return `{"kind":"${kind}","size":${head.sizeOrType},"fields":{${fields.join(",")}}}`;
  }

  /** A bit-field is in a unit of its type; in packed structures it may begin in any byte. */
  #bitField(type: number, bitOffset: number, bits: number): string {
    const base = this.#btf.head(this.#plain(type));
    const unit = Math.max(1, base?.sizeOrType ?? 1) * 8;
    const aligned = bitOffset - (bitOffset % unit);
    const start = bitOffset + bits > aligned + unit ? bitOffset - (bitOffset % 8) : aligned;
    const field = `{"kind":"bitfield","bit_length":${bits},"bit_position":${bitOffset - start},"type":${this.describe(type)}}`;
    return `{"type":${field},"offset":${start >>> 3}}`;
  }

  #enumeration(head: BtfHead): string {
    const { view } = head;
    const isWide = head.kind === BTF_KIND.enum64;
    const constants = new Map<string, string>();
    for (let i = 0; i < head.count; i += 1) {
      const at = head.at + (isWide ? 12 : 8) * i;
      const low = view.getUint32(at + 4, true);
      const name = this.#btf.string(view.getUint32(at, true));
      if (!isWide) constants.set(name, String(head.flag ? low | 0 : low));
      else {
        const raw = (BigInt(view.getUint32(at + 8, true)) << 32n) | BigInt(low);
        constants.set(name, String(head.flag ? BigInt.asIntN(64, raw) : raw));
      }
    }
    const base = INTEGERS[head.sizeOrType]?.[head.flag ? 0 : 1] ?? "int";
    const texts = Array.from(constants, ([name, value]) => `${quoted(name)}:${value}`);
    return `{"size":${head.sizeOrType},"base":"${base}","constants":{${texts.join(",")}}}`;
  }

  /** Type `id` without typedefs and qualifiers. */
  #plain(id: number): number {
    let here = id;
    for (let left = DEEPEST; left > 0; left -= 1) {
      const head = this.#btf.head(here);
      if (head === undefined || !LOOKED_THROUGH.has(head.kind)) return here;
      here = head.sizeOrType;
    }
    return 0;
  }

  /** Type `id` as a symbol file refers to it. */
  describe(id: number, depth = 0): string {
    const known = this.#described.get(id);
    if (known !== undefined) return known;
    const text = depth > DEEPEST ? VOID : this.#describe(this.#plain(id), depth);
    this.#described.set(id, text);
    return text;
  }

  #describe(id: number, depth: number): string {
    const head = this.#btf.head(id);
    if (head === undefined) return VOID;
    switch (head.kind) {
      case BTF_KIND.int:
      case BTF_KIND.float:
        return `{"kind":"base","name":${quoted(this.#btf.string(head.name))}}`;
      case BTF_KIND.pointer:
        return pointerTo(this.describe(head.sizeOrType, depth + 1));
      case BTF_KIND.array: {
        const element = this.describe(head.view.getUint32(head.at, true), depth + 1);
        return arrayOf(element, head.view.getUint32(head.at + 8, true));
      }
      case BTF_KIND.struct:
      case BTF_KIND.union:
        return `{"kind":"${head.kind === BTF_KIND.union ? "union" : "struct"}","name":${quoted(this.#names[id] ?? "")}}`;
      case BTF_KIND.enum:
      case BTF_KIND.enum64:
        return `{"kind":"enum","name":${quoted(this.#names[id] ?? "")}}`;
      case BTF_KIND.function:
      case BTF_KIND.functionPrototype:
        return FUNCTION;
      default:
        // a structure of which only the name is known
        return VOID;
    }
  }

  /** A declared type as a symbol file refers to it. */
  declared(type: DeclaredType): string {
    let text = this.describe(type.base);
    for (let i = 0; i < type.pointers; i += 1) text = pointerTo(text);
    return type.elements === undefined ? text : arrayOf(text, type.elements);
  }
}

const pointerTo = (subtype: string): string => `{"kind":"pointer","subtype":${subtype}}`;
const arrayOf = (subtype: string, count: number): string =>
  `{"kind":"array","count":${count},"subtype":${subtype}}`;

const LOOKED_THROUGH: ReadonlySet<number> = new Set([
  BTF_KIND.typedef,
  BTF_KIND.volatile,
  BTF_KIND.const,
  BTF_KIND.restrict,
  BTF_KIND.typeTag,
]);

/** Signed and unsigned integers by their bytes, as compilers name them. */
const INTEGERS: Readonly<Record<number, readonly [string, string]>> = {
  1: ["signed char", "unsigned char"],
  2: ["short int", "short unsigned int"],
  4: ["int", "unsigned int"],
  8: ["long int", "long unsigned int"],
};

function baseType(head: BtfHead): string {
  if (head.kind === BTF_KIND.float)
    return `{"size":${head.sizeOrType},"signed":true,"kind":"float","endian":"little"}`;
  const encoding = (head.view.getUint32(head.at, true) >>> 24) & 0xf;
  const isChar = (encoding & CHAR) !== 0 || head.sizeOrType === 1;
  const kind = (encoding & BOOL) !== 0 ? "bool" : isChar ? "char" : "int";
  return `{"size":${head.sizeOrType},"signed":${(encoding & SIGNED) !== 0},"kind":"${kind}","endian":"little"}`;
}

/** Names by type number: what has none takes that of its typedef, else one from its number. */
function uniqueNames(btf: Btf): (string | undefined)[] {
  const names: (string | undefined)[] = [];
  const used = new Set<string>();
  const take = (id: number, wanted: string): void => {
    const name = used.has(wanted) ? `${wanted}__${id}` : wanted;
    used.add(name);
    names[id] = name;
  };
  for (let id = 1; id < btf.endId; id += 1) {
    const head = btf.head(id);
    if (head !== undefined && NAMED.has(head.kind) && btf.hasString(head.name))
      take(id, btf.string(head.name));
  }
  for (let id = 1; id < btf.endId; id += 1) {
    const head = btf.head(id);
    if (head?.kind !== BTF_KIND.typedef) continue;
    const target = btf.head(head.sizeOrType);
    if (target !== undefined && NAMED.has(target.kind) && names[head.sizeOrType] === undefined)
      take(head.sizeOrType, btf.string(head.name));
  }
  for (let id = 1; id < btf.endId; id += 1) {
    const head = btf.head(id);
    if (head !== undefined && NAMED.has(head.kind) && names[id] === undefined) take(id, `unnamed_${id}`);
  }
  return names;
}

const NAMED: ReadonlySet<number> = new Set([BTF_KIND.struct, BTF_KIND.union, BTF_KIND.enum, BTF_KIND.enum64]);

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Latin-1 text as base64. */
export function base64(text: string): string {
  const bytes = latin1Bytes(text);
  let out = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const word = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const present = Math.min(3, bytes.length - i);
    for (let digit = 0; digit < 4; digit += 1)
      out += digit > present ? "=" : (BASE64[(word >>> (18 - 6 * digit)) & 63] ?? "");
  }
  return out;
}
