import { latin1 } from "../binary/layout.js";
import { absent, hex, LINUX_RULES } from "./rules.js";
import { findMember, type KernelType, type MemberPlace } from "./types.js";

/** What an object needs of the kernel it is from. */
export interface ObjectHome {
  load(type: KernelType | string, address: bigint): Promise<KernelObject>;
}

/** Bytes of a text without an end. */
const LONGEST_TEXT = 4096;

/**
 * A structure in kernel memory: its bytes as they were read, and its members by name. A path names members with dots
 * and elements in brackets: `thread.sp`, `rss_stat.count[1].counter`.
 */
export class KernelObject {
  readonly type: KernelType;
  /** Virtual address. */
  readonly address: bigint;
  readonly #home: ObjectHome;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Why bytes are missing at the end. */
  readonly #why: string;

  /** @param bytes the contents, fewer than the type's size where the rest can't be read because of `why`. */
  constructor(home: ObjectHome, type: KernelType, address: bigint, bytes: Uint8Array, why = "") {
    this.type = type;
    this.address = address;
    this.#home = home;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#why = why;
  }

  /** Whether this kernel's type has such a member. */
  has(path: string): boolean {
    return findMember(this.type, path) !== undefined;
  }

  /** The first of these members that this kernel's type has: names change from version to version. */
  which(...paths: readonly string[]): string | undefined {
    return paths.find((path) => this.has(path));
  }

  /** @throws AbsentError `linux/type/absent` */
  #place(path: string): MemberPlace {
    const place = findMember(this.type, path);
    if (place === undefined)
      throw absent(LINUX_RULES.noType, `this kernel's struct ${this.type.name} has no member ${path}`);
    return place;
  }

  /** Address of a member. @throws AbsentError `linux/type/absent` */
  addressOf(path: string): bigint {
    return this.address + BigInt(this.#place(path).bitOffset >>> 3);
  }

  /** Where the bytes of a member begin. @throws AbsentError `linux/memory/absent` */
  #bytesAt(path: string, place: MemberPlace, size: number): number {
    const at = Math.floor(place.bitOffset / 8);
    if (at + size > this.#bytes.length)
      throw absent(
        LINUX_RULES.memory,
        `${this.type.name}.${path} at ${hex(this.address)} can't be read: ${this.#why === "" ? "it is beyond the structure" : this.#why}`,
      );
    return at;
  }

  /**
   * The value of an integer, enumeration, pointer or bit-field; of a structure with one member (`atomic_t`), that
   * member's.
   *
   * @throws AbsentError when the type has no such member or its bytes are not in the input.
   */
  bigint(path: string): bigint {
    const place = scalar(this.#place(path));
    const { type, bitSize } = place;
    if (bitSize !== undefined) return this.#bitField(path, place, bitSize);
    const at = this.#bytesAt(path, place, type.size);
    switch (type.size) {
      case 1:
        return BigInt(type.signed ? this.#view.getInt8(at) : this.#view.getUint8(at));
      case 2:
        return BigInt(type.signed ? this.#view.getInt16(at, true) : this.#view.getUint16(at, true));
      case 4:
        return BigInt(type.signed ? this.#view.getInt32(at, true) : this.#view.getUint32(at, true));
      case 8:
        return type.signed ? this.#view.getBigInt64(at, true) : this.#view.getBigUint64(at, true);
      default:
        throw absent(LINUX_RULES.noType, `${this.type.name}.${path} is no number in this kernel`);
    }
  }

  #bitField(path: string, place: MemberPlace, bits: number): bigint {
    const start = this.#bytesAt(path, place, Math.ceil(((place.bitOffset % 8) + bits) / 8));
    let value = 0n;
    for (let i = Math.ceil(((place.bitOffset % 8) + bits) / 8) - 1; i >= 0; i -= 1)
      value = (value << 8n) | BigInt(this.#view.getUint8(start + i));
    value = (value >> BigInt(place.bitOffset % 8)) & ((1n << BigInt(bits)) - 1n);
    return place.type.signed ? BigInt.asIntN(bits, value) : value;
  }

  /** As `bigint`, rounded where it is beyond 2^53. */
  number(path: string): number {
    const place = scalar(this.#place(path));
    if (place.bitSize === undefined && place.type.size === 4) {
      const at = this.#bytesAt(path, place, 4);
      return place.type.signed ? this.#view.getInt32(at, true) : this.#view.getUint32(at, true);
    }
    return Number(this.bigint(path));
  }

  /** As `number`, of the first of these members that this kernel has; undefined when it has none. */
  numberOf(...paths: readonly string[]): number | undefined {
    const path = this.which(...paths);
    return path === undefined ? undefined : this.number(path);
  }

  /** A pointer, or an integer that serves as one: an unsigned address. */
  pointer(path: string): bigint {
    return BigInt.asUintN(64, this.bigint(path));
  }

  /** An array of characters up to its NUL, as latin-1 or UTF-8. */
  text(path: string): string {
    const place = this.#place(path);
    const size = Math.min(place.type.size, LONGEST_TEXT);
    const at = this.#bytesAt(path, place, size);
    return decodeText(this.#bytes.subarray(at, at + size));
  }

  /** The bytes of a member. */
  bytes(path: string): Uint8Array {
    const place = this.#place(path);
    const at = this.#bytesAt(path, place, place.type.size);
    return this.#bytes.subarray(at, at + place.type.size);
  }

  /** A structure inside of this one, on the same bytes. */
  inner(path: string): KernelObject {
    const place = this.#place(path);
    const at = Math.floor(place.bitOffset / 8);
    const bytes = this.#bytes.subarray(Math.min(at, this.#bytes.length), at + place.type.size);
    return new KernelObject(this.#home, place.type, this.address + BigInt(at), bytes, this.#why);
  }

  /**
   * What a pointer to a structure points to.
   *
   * @param as name of the structure, for pointers to void and integers.
   * @throws AbsentError for NULL and for memory that is not in the input.
   */
  async follow(path: string, as?: string): Promise<KernelObject> {
    const address = this.pointer(path);
    if (address === 0n)
      throw absent(LINUX_RULES.memory, `${this.type.name}.${path} at ${hex(this.address)} is NULL`);
    const target = as ?? this.#place(path).type.target();
    if (target === undefined)
      throw absent(LINUX_RULES.noType, `${this.type.name}.${path} is no pointer in this kernel`);
    return this.#home.load(target, address);
  }
}

/** Bytes up to the first NUL as text: UTF-8 where they are, else latin-1. */
export function decodeText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const text = end === -1 ? bytes : bytes.subarray(0, end);
  if (text.every((byte) => byte < 0x80)) return latin1(text);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(text);
  } catch {
    return latin1(text);
  }
}

/** Structures of one member stand for it: `atomic_t`, `kuid_t`, `refcount_t`. */
function scalar(place: MemberPlace): MemberPlace {
  let here = place;
  for (let left = 8; left > 0 && (here.type.kind === "struct" || here.type.kind === "union"); left -= 1) {
    const [first] = here.type.members();
    if (first === undefined) break;
    here = { ...first, bitOffset: here.bitOffset + first.bitOffset };
  }
  return here;
}
