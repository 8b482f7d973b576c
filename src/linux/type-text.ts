import type { KernelMember, KernelType } from "./types.js";

/** Structures in structures that are written out. */
const DEEPEST = 16;

/** What is before a member's name and what comes after it, as C declares it. */
function declaration(type: KernelType): { readonly before: string; readonly after: string } {
  let here: KernelType | undefined = type;
  let after = "";
  let stars = "";
  for (let left = 32; left > 0 && here !== undefined; left -= 1) {
    if (here.kind === "array") after += `[${here.count}]`;
    else if (here.kind === "pointer") stars += "*";
    else break;
    const target: KernelType | undefined = here.target();
    if (target?.kind === "function") return { before: "void", after: `(${stars})()` };
    here = target;
  }
  return { before: `${nameOf(here)}${stars === "" ? "" : ` ${stars}`}`, after };
}

/** A type's name as C writes it; typedefs are looked through. */
export function nameOf(type: KernelType | undefined): string {
  if (type === undefined || type.kind === "void") return "void";
  const name = type.name === "" ? "{…}" : type.name;
  if (type.kind === "struct" || type.kind === "union" || type.kind === "enum") return `${type.kind} ${name}`;
  if (type.kind === "forward") return `struct ${name}`;
  if (type.kind === "function") return "void ()";
  return name;
}

/** A member's type as C declares it, without the member's name: `struct list_head *`, `char[16]`. */
export function declarationOf(type: KernelType): string {
  const { before, after } = declaration(type);
  return `${before}${after}`;
}

/**
 * The layout of a structure: a member a line with its offset and bytes (bits for bit-fields), unnamed structures written
 * out, and the bytes of the whole.
 */
export function layoutLines(type: KernelType): string[] {
  const lines = [`${nameOf(type)} {`];
  addMembers(type, 0, 1, lines);
  lines.push("};", `/* ${type.size} bytes */`);
  return lines;
}

function addMembers(type: KernelType, base: number, depth: number, lines: string[]): void {
  const indent = "    ".repeat(depth);
  for (const member of type.members()) {
    const at = base + member.bitOffset;
    const isInner = member.type.kind === "struct" || member.type.kind === "union";
    if (isInner && member.type.name === "" && depth < DEEPEST) {
      lines.push(`${indent}${member.type.kind} {`);
      addMembers(member.type, at, depth + 1, lines);
      lines.push(`${indent}}${member.name === "" ? "" : ` ${member.name}`};`.padEnd(48) + size(member, at));
      continue;
    }
    const { before, after } = declaration(member.type);
    const bits = member.bitSize === undefined ? "" : `:${member.bitSize}`;
    lines.push(`${indent}${before} ${member.name}${bits}${after};`.padEnd(48) + size(member, at));
  }
}

function size(member: KernelMember, at: number): string {
  const offset = String(Math.floor(at / 8)).padStart(6);
  return member.bitSize === undefined
    ? ` /* ${offset} ${String(member.type.size).padStart(6)} */`
    : ` /* ${offset}:${at % 8} ${member.bitSize} bits */`;
}
