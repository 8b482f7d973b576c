import * as path from "node:path";
import type { GuestImage } from "../src/guest/image.js";
import type { MemoryPiece, MemoryRange, PhysicalMemory } from "../src/guest/memory.js";
import { openFile } from "../src/io/node/files.js";
import { openRandomAccess } from "../src/io/node/decompress.js";
import { type Kernel, openKernel } from "../src/linux/kernel.js";
import { openGuest } from "../src/open/open.js";

/**
 * A Linux guest as something to mutate: VMCOREINFO, then every line of 64 bytes of its memory that holds anything, but for
 * the tables of symbols and types, which have targets of their own.
 */

const FIXTURES = path.join(import.meta.dirname, "../test/fixtures/linux");
/** Tasks, stacks, files, sockets. */
const DEFAULT_GUEST = "hvmlinux-6.1";
const LINE = 64;
const INFO = 4096;

interface Base {
  readonly guest: GuestImage;
  readonly ranges: readonly MemoryRange[];
  /** Contents of each range. */
  readonly contents: readonly Uint8Array[];
  /** Guest-physical addresses of the lines, ascending. */
  readonly lines: readonly number[];
  readonly seed: Uint8Array;
}

const bases = new Map<string, Promise<Base>>();

function baseOf(name: string): Promise<Base> {
  let base = bases.get(name);
  if (base === undefined) {
    base = loadBase(name);
    bases.set(name, base);
  }
  return base;
}

async function loadBase(name: string): Promise<Base> {
  const access = await openRandomAccess(openFile(path.join(FIXTURES, `${name}.elf.xz`)));
  const guest = await openGuest(access.source);
  const tables = await tablesOf(await openKernel(guest));
  // the kernel's image is in the file twice, at the same physical addresses
  const ranges = [...guest.memory.ranges()];
  const contents: Uint8Array[] = [];
  const lines: number[] = [];
  const parts: Uint8Array[] = [];
  for (const { start, end } of ranges) {
    const bytes = new Uint8Array(end - start);
    await guest.memory.read(start, bytes);
    contents.push(bytes);
    for (let at = 0; at < bytes.length; at += LINE) {
      const line = bytes.subarray(at, at + LINE);
      if (line.every((byte) => byte === 0)) continue;
      if (tables.some((table) => start + at >= table.start && start + at < table.end)) continue;
      lines.push(start + at);
      parts.push(line);
    }
  }
  access.close();
  const info = new Uint8Array(INFO);
  info.set(Buffer.from(guest.facts.vmcoreInfo?.text ?? "", "latin1"));
  return { guest, ranges, contents, lines, seed: Uint8Array.from(Buffer.concat([info, ...parts])) };
}

/** Where the tables of symbols and types are, guest-physical. */
async function tablesOf(kernel: Kernel): Promise<{ readonly start: number; readonly end: number }[]> {
  const found: { start: number; end: number }[] = [];
  for (const [first, last] of [
    ["kallsyms_offsets", "kallsyms_token_index"],
    ["__start_BTF", "__stop_BTF"],
  ] as const) {
    const [start, end] = [
      await kernel.space.translate(kernel.needSymbol(first)),
      await kernel.space.translate(kernel.needSymbol(last)),
    ];
    if (start !== undefined && end !== undefined) found.push({ start, end: end + 512 });
  }
  return found;
}

/** The guest's bytes to start from. @param name a fixture of test/fixtures/linux */
export async function linuxSeed(name = DEFAULT_GUEST): Promise<Uint8Array> {
  return (await baseOf(name)).seed;
}

/** The guest that such bytes, changed, describe: what is missing at their end is zeros. */
export async function linuxGuest(bytes: Uint8Array, name = DEFAULT_GUEST): Promise<GuestImage> {
  const base = await baseOf(name);
  const { guest, ranges, lines } = base;
  const contents = base.contents.map((content) => content.slice());
  let range = 0;
  for (const [i, gpa] of lines.entries()) {
    while (gpa >= (ranges[range]?.end ?? 0)) range += 1;
    const at = gpa - (ranges[range]?.start ?? 0);
    const line = bytes.subarray(INFO + i * LINE, INFO + (i + 1) * LINE);
    contents[range]?.fill(0, at, at + LINE).set(line, at);
  }
  const text = Buffer.from(bytes.subarray(0, INFO)).toString("latin1").replace(/\0.*/s, "");
  return {
    ...guest,
    memory: new Patched(ranges, contents),
    facts: { ...guest.facts, vmcoreInfo: { text } },
  };
}

class Patched implements PhysicalMemory {
  readonly #ranges: readonly MemoryRange[];
  readonly #contents: readonly Uint8Array[];

  constructor(ranges: readonly MemoryRange[], contents: readonly Uint8Array[]) {
    this.#ranges = ranges;
    this.#contents = contents;
  }

  ranges(): Iterable<MemoryRange> {
    return this.#ranges;
  }

  read(gpa: number, into: Uint8Array): number {
    const i = this.#ranges.findIndex(({ end }) => gpa < end);
    const range = this.#ranges[i];
    if (range === undefined || gpa < range.start) return 0;
    const part = this.#contents[i]?.subarray(gpa - range.start, gpa - range.start + into.length);
    into.set(part ?? []);
    return part?.length ?? 0;
  }

  async *pieces(start = 0, end = Number.MAX_SAFE_INTEGER): AsyncIterable<MemoryPiece> {
    for (const [i, range] of this.#ranges.entries()) {
      const [from, to] = [Math.max(start, range.start), Math.min(end, range.end)];
      if (from >= to) continue;
      const bytes = this.#contents[i]?.subarray(from - range.start, to - range.start);
      yield { gpa: from, length: to - from, bytes };
    }
  }
}
