import { AbsentError } from "../../findings/errors.js";
import type { Kernel } from "../../linux/kernel.js";
import type { KernelObject } from "../../linux/object.js";
import { printPlace } from "../../linux/symbols.js";
import { declarationOf, nameOf } from "../../linux/type-text.js";
import type { KernelMember, KernelType } from "../../linux/types.js";
import { type MemoryValue, valueOf } from "../../linux/value-text.js";
import type { StructureRow, StructureView } from "./linux-protocol.js";

/** Rows of one structure at most: the largest of Linux has some thousand. */
const MOST_ROWS = 6000;
const DEEPEST = 12;
/** Elements of an array of structures or pointers that have rows of their own. */
const MOST_ELEMENTS = 16;

const isNested = ({ kind }: KernelType): boolean => kind === "struct" || kind === "union";

/** What a pointer leads to, where that is a structure with a name. */
function targetOf(type: KernelType): string | undefined {
  const target = type.kind === "pointer" ? type.target() : undefined;
  return target !== undefined && target.kind === "struct" && target.name !== "" ? target.name : undefined;
}

function printValue(value: MemoryValue): string | undefined {
  if (value === null) return undefined;
  if (typeof value === "number") return Math.abs(value) > 9 ? `${value} (${hexOf(value)})` : String(value);
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map((one: MemoryValue) => printValue(one) ?? "?").join(", ");
  return typeof value === "bigint" ? `0x${value.toString(16)}` : undefined;
}

const hexOf = (value: number): string => `${value < 0 ? "-" : ""}0x${Math.abs(value).toString(16)}`;

/** Collects the rows of a structure's layout, and of its contents where there is an object. */
class Rows {
  readonly rows: StructureRow[] = [];
  leftOut = 0;
  readonly #kernel: Kernel;
  readonly #object: KernelObject | undefined;

  constructor(kernel: Kernel, object: KernelObject | undefined) {
    this.#kernel = kernel;
    this.#object = object;
  }

  /** Members of a structure that begins `base` bits into the whole. */
  members(type: KernelType, base: number, path: string, depth: number): void {
    for (const member of type.members()) {
      const at = base + member.bitOffset;
      if (member.name === "" && isNested(member.type)) {
        if (depth < DEEPEST) this.members(member.type, at, path, depth);
        continue;
      }
      this.#member(member, at, path === "" ? member.name : `${path}.${member.name}`, depth);
    }
  }

  #member({ name, type, bitSize }: KernelMember, at: number, path: string, depth: number): void {
    const element = type.kind === "array" ? type.target() : undefined;
    const isTable = element !== undefined && (isNested(element) || element.kind === "pointer");
    const head = {
      depth,
      name,
      type: declarationOf(type),
      offset: Math.floor(at / 8),
      size: type.size,
      ...(bitSize === undefined ? {} : { bit: at % 8, bits: bitSize }),
    };
    if (depth >= DEEPEST || !(isNested(type) || isTable)) {
      this.#add({ ...head, ...this.#contents(type, path) });
      return;
    }
    this.#add(head);
    if (element === undefined) this.members(type, at, path, depth + 1);
    else
      for (let i = 0; i < Math.min(type.count, MOST_ELEMENTS); i += 1) {
        const place = { name: `[${i}]`, type: element, bitOffset: 0 };
        this.#member(place, at + i * element.size * 8, `${path}[${i}]`, depth + 1);
      }
  }

  #contents(type: KernelType, path: string): Pick<StructureRow, "value" | "pointer" | "target" | "symbol"> {
    const object = this.#object;
    if (object === undefined) return {};
    if (type.kind !== "pointer") {
      const value = printValue(valueOf(object, type, path));
      return value === undefined ? {} : { value };
    }
    let pointer: bigint;
    try {
      pointer = object.pointer(path);
    } catch (error) {
      if (error instanceof AbsentError) return {};
      throw error;
    }
    if (pointer === 0n) return { value: "NULL" };
    const target = targetOf(type);
    const symbol = symbolAt(this.#kernel, pointer);
    return {
      value: `0x${pointer.toString(16)}`,
      pointer,
      ...(target === undefined ? {} : { target }),
      ...(symbol === undefined ? {} : { symbol }),
    };
  }

  #add(row: StructureRow): void {
    if (this.rows.length < MOST_ROWS) this.rows.push(row);
    else this.leftOut += 1;
  }
}

/** Symbols below are offsets of per-CPU variables, not addresses. */
const KERNEL_HALF = 1n << 63n;

/** The symbol that an address lies in: `schedule+0x5e/0xd0`; undefined for what is in none. */
export function symbolAt(kernel: Kernel, address: bigint): string | undefined {
  const place = address < KERNEL_HALF ? undefined : kernel.place(address);
  if (place === undefined || place.offset >= place.size) return undefined;
  return place.offset === 0 ? place.name : printPlace(place);
}

/**
 * The layout of a structure by its name, with its contents at an address.
 * @throws AbsentError when the kernel has no such structure or nothing can be read there
 */
export async function viewStructure(
  kernel: Kernel,
  name: string,
  address: bigint | undefined,
): Promise<StructureView> {
  const type = kernel.struct(name.replace(/^(struct|union) +/, "").trim());
  const object = address === undefined ? undefined : await kernel.load(type, address);
  const found = new Rows(kernel, object);
  found.members(type, 0, "", 0);
  return {
    name: nameOf(type),
    size: type.size,
    rows: found.rows,
    leftOut: found.leftOut,
    ...(address === undefined ? {} : { address }),
  };
}
