import { latin1, latin1Bytes, layout, u8, u16, u32 } from "../binary/layout.js";
import { NameTable } from "./name-table.js";
import { damaged, LINUX_RULES } from "./rules.js";

/** Head of BTF, the kernel's description of its types. */
export const btfHeader = layout("BTF header", "Linux, Documentation/bpf/btf.rst", {
  magic: u16("0xeb9f"),
  version: u8("1"),
  flags: u8("0"),
  headerLength: u32("bytes of this header"),
  typeOffset: u32("of the types, from the header's end"),
  typeLength: u32("bytes of types"),
  stringOffset: u32("of the strings, from the header's end"),
  stringLength: u32("bytes of strings"),
});

export const BTF_MAGIC = 0xeb9f;

/** Kinds of BTF types. */
export const BTF_KIND = {
  void: 0,
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  function: 12,
  functionPrototype: 13,
  variable: 14,
  dataSection: 15,
  float: 16,
  declarationTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

/** Bytes of a type's head: name, info, size or type. */
const HEAD = 12;
/** Bytes after the head: so many, and so many for each of `vlen`. */
const TAILS: readonly (readonly [number, number])[] = [
  [0, 0],
  [4, 0],
  [0, 0],
  [12, 0],
  [0, 12],
  [0, 12],
  [0, 8],
  [0, 0],
  [0, 0],
  [0, 0],
  [0, 0],
  [0, 0],
  [0, 0],
  [0, 8],
  [4, 0],
  [0, 12],
  [0, 0],
  [4, 0],
  [0, 0],
  [0, 12],
];

/** Bytes of a name: C compilers know no longer ones. */
const LONGEST_NAME = 512;

/** One block of BTF: vmlinux's, or a module's on top of it. Types are numbered from 1, strings by offset. */
export class Btf {
  readonly base: Btf | undefined;
  /** The block as it was read, from its header to its last type or string. */
  readonly bytes: Uint8Array;
  /** Number of the first type here, and of the first after. */
  readonly firstId: number;
  readonly endId: number;
  readonly #strings: Uint8Array;
  readonly #firstString: number;
  readonly #view: DataView;
  /** Offset of each type's head in the type section. */
  readonly #offsets: Uint32Array;
  #names: NameTable | undefined;

  /**
   * Indexes the types. `bytes` begins with the header and may be longer than what it announces.
   *
   * @throws FormatError `linux/btf/damaged`
   */
  constructor(bytes: Uint8Array, base?: Btf) {
    const { types, strings, length } = sections(bytes);
    this.bytes = bytes.subarray(0, length);
    this.base = base;
    this.firstId = base?.endId ?? 1;
    this.#firstString = base === undefined ? 0 : base.stringEnd;
    this.#strings = strings;
    this.#view = new DataView(types.buffer, types.byteOffset, types.byteLength);
    this.#offsets = indexTypes(this.#view);
    this.endId = this.firstId + this.#offsets.length;
  }

  /** Offset of the first string of a block on top of this one. */
  get stringEnd(): number {
    return this.#firstString + this.#strings.length;
  }

  /** The block that holds type `id`: this or the one below. */
  #home(id: number): Btf | undefined {
    if (id >= this.firstId) return id < this.endId ? this : undefined;
    const { base } = this;
    return base === undefined ? undefined : base.#home(id);
  }

  /** Kind, number of members, kind flag, size or type, and where what follows begins; undefined for void and beyond the end. */
  head(id: number): BtfHead | undefined {
    const home = this.#home(id);
    if (home === undefined) return undefined;
    const at = home.#offsets[id - home.firstId] ?? 0;
    const info = home.#view.getUint32(at + 4, true);
    return {
      name: home.#view.getUint32(at, true),
      kind: (info >>> 24) & 0x1f,
      count: info & 0xffff,
      flag: info >>> 31 === 1,
      sizeOrType: home.#view.getUint32(at + 8, true),
      view: home.#view,
      at: at + HEAD,
    };
  }

  /** The string at `offset`; empty where there is none. */
  string(offset: number): string {
    if (offset < this.#firstString) return this.base?.string(offset) ?? "";
    const start = offset - this.#firstString;
    if (start >= this.#strings.length) return "";
    let end = start;
    while (end < this.#strings.length && end - start < LONGEST_NAME && this.#strings[end] !== 0) end += 1;
    return latin1(this.#strings.subarray(start, end));
  }

  /** Whether there is a text at `offset`: not for 0, an empty one, or an offset beyond the strings. */
  hasString(offset: number): boolean {
    if (offset < this.#firstString) return this.base?.hasString(offset) ?? false;
    return (this.#strings[offset - this.#firstString] ?? 0) !== 0;
  }

  /** Number of the type of that name and one of those kinds; undefined when there is none. */
  find(kinds: readonly number[], name: string): number | undefined {
    const wanted = latin1Bytes(name);
    const table = (this.#names ??= this.#indexNames());
    for (const entry of table.candidates(hashOf(wanted, 0))) {
      const id = this.firstId + entry;
      const head = this.head(id);
      if (head !== undefined && kinds.includes(head.kind) && this.#isNamed(head.name, wanted)) return id;
    }
    return this.base?.find(kinds, name);
  }

  #isNamed(offset: number, name: Uint8Array): boolean {
    const { base } = this;
    if (offset < this.#firstString) return base !== undefined && base.#isNamed(offset, name);
    const start = offset - this.#firstString;
    for (let i = 0; i < name.length; i += 1) if (this.#strings[start + i] !== name[i]) return false;
    return this.#strings[start + name.length] === 0;
  }

  #hashAt(offset: number): number {
    const { base } = this;
    if (offset < this.#firstString) return base === undefined ? 0 : base.#hashAt(offset);
    return hashOf(this.#strings, offset - this.#firstString);
  }

  #indexNames(): NameTable {
    return new NameTable(this.#offsets.length, (entry) => {
      const at = this.#offsets[entry] ?? 0;
      const name = this.#view.getUint32(at, true);
      const kind = (this.#view.getUint32(at + 4, true) >>> 24) & 0x1f;
      return name === 0 || !BY_NAME.has(kind) ? undefined : this.#hashAt(name);
    });
  }
}

const BY_NAME: ReadonlySet<number> = new Set([
  BTF_KIND.int,
  BTF_KIND.struct,
  BTF_KIND.union,
  BTF_KIND.enum,
  BTF_KIND.enum64,
  BTF_KIND.typedef,
  BTF_KIND.float,
  BTF_KIND.variable,
]);

/** FNV-1a of a name, up to its NUL or the end. */
function hashOf(bytes: Uint8Array, start: number): number {
  let hash = 0x811c_9dc5;
  const end = Math.min(bytes.length, start + LONGEST_NAME);
  for (let i = start; i < end; i += 1) {
    const byte = bytes[i] ?? 0;
    if (byte === 0) break;
    hash = Math.imul(hash ^ byte, 0x0100_0193);
  }
  return hash >>> 0;
}

/** What every type begins with. */
export interface BtfHead {
  /** Offset of the name; 0: none. */
  readonly name: number;
  readonly kind: number;
  /** Members, parameters, enumerators. */
  readonly count: number;
  readonly flag: boolean;
  readonly sizeOrType: number;
  readonly view: DataView;
  /** Where in `view` that begins which follows the head. */
  readonly at: number;
}

function broken(what: string): never {
  throw damaged(LINUX_RULES.badBtf, `BTF ${what}`);
}

function sections(bytes: Uint8Array): {
  readonly types: Uint8Array;
  readonly strings: Uint8Array;
  readonly length: number;
} {
  if (bytes.length < btfHeader.size) broken("breaks off in its header");
  const head = btfHeader.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, "little");
  if (head.magic !== BTF_MAGIC || head.version !== 1)
    broken(`has magic 0x${head.magic.toString(16)}, version ${head.version}`);
  const { headerLength, typeOffset, typeLength, stringOffset, stringLength } = head;
  if (headerLength < btfHeader.size || typeOffset % 4 !== 0) broken("has a header that can't be");
  const end = headerLength + Math.max(typeOffset + typeLength, stringOffset + stringLength);
  if (end > bytes.length) broken(`breaks off: it has ${bytes.length} of ${end} bytes`);
  const part = (offset: number, length: number): Uint8Array =>
    bytes.subarray(headerLength + offset, headerLength + offset + length);
  return {
    types: part(typeOffset, typeLength),
    strings: part(stringOffset, stringLength),
    length: end,
  };
}

function indexTypes(view: DataView): Uint32Array {
  let offsets = new Uint32Array(1024);
  let count = 0;
  let at = 0;
  const { byteLength } = view;
  while (at < byteLength) {
    if (at + HEAD > byteLength) broken(`breaks off in type ${count + 1}`);
    const info = view.getUint32(at + 4, true);
    const kind = (info >>> 24) & 0x1f;
    const tail = kind === 0 ? undefined : TAILS[kind];
    if (tail === undefined) broken(`type ${count + 1} is of unknown kind ${kind}`);
    if (count === offsets.length) {
      const larger = new Uint32Array(count * 2);
      larger.set(offsets);
      offsets = larger;
    }
    offsets[count] = at;
    count += 1;
    at += HEAD + tail[0] + tail[1] * (info & 0xffff);
  }
  if (at > byteLength) broken(`breaks off in type ${count}`);
  return offsets.slice(0, count);
}
