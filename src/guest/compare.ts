import { hexText } from "../binary/text.js";
import { equalBytes } from "../io/byte-search.js";
import { yieldToEventLoop } from "../io/event-loop.js";
import type { GuestImage } from "./image.js";
import { PAGE_SIZE, type PhysicalMemory } from "./memory.js";
import { summarizeVcpu } from "./vcpu.js";

/** A run of guest-physical addresses, in bytes, `end` exclusive. */
export interface Run {
  readonly start: number;
  readonly end: number;
}

/** How the memory of two guests differs. */
export interface MemoryDifference {
  /** Bytes that both inputs hold: contents, or known to be zeros. */
  readonly compared: number;
  /** Pages of 4096 bytes among them that differ. */
  readonly changedPages: number;
  /** Where they are: neighbours as one run. */
  readonly changed: readonly Run[];
  /** Memory that only the first input holds, and only the second. */
  readonly onlyFirst: readonly Run[];
  readonly onlySecond: readonly Run[];
  /** Runs beyond those listed. */
  readonly leftOut: number;
}

/** Something that has a name and another value in each of two guests; undefined where it isn't there. */
export interface ValueDifference {
  readonly name: string;
  readonly first: string | undefined;
  readonly second: string | undefined;
}

/** Runs listed: memory stays bounded. */
const MOST_RUNS = 200_000;
const ZEROS = new Uint8Array(1 << 20);

/** What is left of the piece at hand of one guest's memory. */
interface Cursor {
  gpa: number;
  end: number;
  /** undefined: zeros. The byte at `gpa` is the first. */
  bytes: Uint8Array | undefined;
}

class RunList {
  readonly runs: { start: number; end: number }[] = [];
  leftOut = 0;

  add(start: number, end: number): void {
    const last = this.runs.at(-1);
    if (last?.end === start) last.end = end;
    else if (this.runs.length < MOST_RUNS) this.runs.push({ start, end });
    else this.leftOut += 1;
  }
}

async function advance(
  pieces: AsyncIterator<{ gpa: number; length: number; bytes: Uint8Array | undefined }>,
): Promise<Cursor | undefined> {
  const next = await pieces.next();
  if (next.done === true) return undefined;
  const { gpa, length, bytes } = next.value;
  return { gpa, end: gpa + length, bytes };
}

function cut(cursor: Cursor, to: number): void {
  if (cursor.bytes !== undefined) cursor.bytes = cursor.bytes.subarray(to - cursor.gpa);
  cursor.gpa = to;
}

/**
 * Compares the memory of two guests page by page, in one pass over both.
 * @param onProgress called with the address that is reached
 */
export async function compareMemory(
  first: PhysicalMemory,
  second: PhysicalMemory,
  onProgress?: (address: number) => void,
): Promise<MemoryDifference> {
  const changed = new RunList();
  const onlyFirst = new RunList();
  const onlySecond = new RunList();
  let compared = 0;
  let changedPages = 0;
  let lastPage = -1;
  let sinceBreath = 0;
  const one = first.pieces()[Symbol.asyncIterator]();
  const other = second.pieces()[Symbol.asyncIterator]();

  const markPage = (at: number): void => {
    const page = at - (at % PAGE_SIZE);
    if (page === lastPage) return;
    lastPage = page;
    changedPages += 1;
    changed.add(page, page + PAGE_SIZE);
  };
  const compare = (a: Cursor, b: Cursor, length: number): void => {
    compared += length;
    if (a.bytes === undefined && b.bytes === undefined) return;
    for (let done = 0; done < length; ) {
      const part = Math.min(length - done, ZEROS.length);
      const left = a.bytes?.subarray(done, done + part) ?? ZEROS.subarray(0, part);
      const right = b.bytes?.subarray(done, done + part) ?? ZEROS.subarray(0, part);
      if (!equalBytes(left, right)) {
        for (let at = 0; at < part; ) {
          const gpa = a.gpa + done + at;
          const size = Math.min(PAGE_SIZE - (gpa % PAGE_SIZE), part - at);
          if (!equalBytes(left.subarray(at, at + size), right.subarray(at, at + size))) markPage(gpa);
          at += size;
        }
      }
      done += part;
    }
  };

  let a = await advance(one);
  let b = await advance(other);
  try {
    while (a !== undefined || b !== undefined) {
      if (a !== undefined && (b === undefined || a.gpa < b.gpa)) {
        const end = Math.min(a.end, b?.gpa ?? a.end);
        onlyFirst.add(a.gpa, end);
        cut(a, end);
      } else if (b !== undefined && (a === undefined || b.gpa < a.gpa)) {
        const end = Math.min(b.end, a?.gpa ?? b.end);
        onlySecond.add(b.gpa, end);
        cut(b, end);
      } else if (a !== undefined && b !== undefined) {
        const end = Math.min(a.end, b.end);
        const length = end - a.gpa;
        compare(a, b, length);
        cut(a, end);
        cut(b, end);
        onProgress?.(end);
        sinceBreath += length;
        if (sinceBreath > 64 << 20) {
          sinceBreath = 0;
          await yieldToEventLoop();
        }
      }
      if (a?.gpa === a?.end) a = await advance(one);
      if (b?.gpa === b?.end) b = await advance(other);
    }
  } finally {
    await one.return?.();
    await other.return?.();
  }
  return {
    compared,
    changedPages,
    changed: changed.runs,
    onlyFirst: onlyFirst.runs,
    onlySecond: onlySecond.runs,
    leftOut: changed.leftOut + onlyFirst.leftOut + onlySecond.leftOut,
  };
}

/** A value of any shape as names and texts: `registers.general.rip` → `0xffff…`. Depth and number are bounded. */
export function flatten(value: unknown, name: string, into: Map<string, string>, depth = 0): void {
  if (value === undefined || into.size > MOST_RUNS || depth > 12) return;
  if (value instanceof Uint8Array) into.set(name, hexText(value));
  else if (value instanceof Map) flatten(Object.fromEntries(value), name, into, depth + 1);
  else if (typeof value === "object" && value !== null)
    for (const [key, member] of Object.entries(value))
      flatten(member, name === "" ? key : `${name}.${key}`, into, depth + 1);
  else if (typeof value === "bigint") into.set(name, `0x${value.toString(16)}`);
  else into.set(name, typeof value === "string" ? value : JSON.stringify(value));
}

/** What differs between two sets of named values; with `both`, only what both know. */
export function compareValues(
  first: ReadonlyMap<string, string>,
  second: ReadonlyMap<string, string>,
  both = false,
): ValueDifference[] {
  const differences: ValueDifference[] = [];
  for (const name of new Set([...first.keys(), ...second.keys()])) {
    const [one, other] = [first.get(name), second.get(name)];
    if (one === other || (both && (one === undefined || other === undefined))) continue;
    differences.push({ name, first: one, second: other });
  }
  return differences;
}

/** Registers of all vCPUs that both guests know and that differ, as `vcpu0.general.rip`; vCPUs that one lacks. */
export function compareRegisters(first: GuestImage, second: GuestImage): ValueDifference[] {
  const values = (guest: GuestImage): Map<string, string> => {
    const into = new Map<string, string>();
    for (const vcpu of guest.vcpus) {
      const { registers } = summarizeVcpu(vcpu);
      const name = `vcpu${vcpu.id}`;
      into.set(name, registers === undefined ? "no registers" : registers.kind);
      flatten(registers, name, into);
    }
    return into;
  };
  const [one, other] = [values(first), values(second)];
  const lacking = compareValues(
    new Map([...one].filter(([name]) => !name.includes("."))),
    new Map([...other].filter(([name]) => !name.includes("."))),
  );
  return [...lacking, ...compareValues(one, other, true).filter(({ name }) => name.includes("."))];
}

/** What the inputs say of the guests themselves: architecture, name, memory's kernel … What only one knows is no difference. */
export function compareFacts(first: GuestImage, second: GuestImage): ValueDifference[] {
  const values = ({ arch, facts }: GuestImage): Map<string, string> => {
    const into = new Map<string, string>();
    const { name, uuid, guestType, hypervisor, vmcoreInfo, more } = facts;
    // how a file is cut says nothing of its guest
    const { segments: _segments, ...known } = more ?? {};
    const said = facts.archIsGuess === true ? undefined : arch.name;
    flatten({ arch: said, name, uuid, guestType, hypervisor, ...known }, "", into);
    for (const line of vmcoreInfo?.text.split("\n") ?? []) {
      const [key = "", ...rest] = line.split("=");
      if (key !== "") into.set(`vmcoreinfo.${key}`, rest.join("="));
    }
    return into;
  };
  return compareValues(values(first), values(second), true);
}

/** State areas that both inputs keep as they are: a vCPU's `xsave`, `lapic` …, `shared_info`. */
export function compareAreas(first: GuestImage, second: GuestImage): ValueDifference[] {
  const values = ({ raw, vcpus }: GuestImage): Map<string, string> => {
    const into = new Map<string, string>();
    flatten(raw, "machine", into);
    for (const vcpu of vcpus) flatten(vcpu.raw, `vcpu${vcpu.id}`, into);
    return into;
  };
  return compareValues(values(first), values(second), true);
}
