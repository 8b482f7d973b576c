import { AbsentError } from "../../findings/errors.js";
import type { Kernel } from "../kernel.js";
import { absent, LINUX_RULES } from "../rules.js";
import type { Contents } from "./elf-file.js";
import { linkAddress, runAddress } from "./link-address.js";

/** A part of the kernel's image between two symbols of its linker script. */
interface Part {
  readonly name: string;
  readonly bounds: readonly (readonly [start: string, end: string])[];
  /** `x` code, `w` data that is written to, `r` data that is not. */
  readonly use: "x" | "w" | "r";
  /** Its memory was given away after the kernel's start, or never had contents of its own. */
  readonly empty?: true;
  /** Each CPU has a copy: the first one's is taken. */
  readonly perCpu?: true;
  /** Bytes of an element of a table: alignment. */
  readonly align?: number;
  /** A table, of use only when all of it is there. */
  readonly table?: true;
}

/** From the outermost to the innermost: what is in another part is cut out of it (Linux, vmlinux.lds.h). */
const PARTS: readonly Part[] = [
  {
    name: ".text",
    bounds: [
      ["_text", "_etext"],
      ["_stext", "_etext"],
    ],
    use: "x",
  },
  { name: ".rodata", bounds: [["__start_rodata", "__end_rodata"]], use: "r" },
  // aarch64: read-only data of its hypervisor part, trampolines, page tables
  {
    name: ".rodata.text",
    bounds: [
      ["__hyp_rodata_start", "__init_begin"],
      ["idmap_pg_dir", "__init_begin"],
    ],
    use: "x",
  },
  { name: ".data", bounds: [["_sdata", "_edata"]], use: "w" },
  { name: ".init.data", bounds: [["__init_begin", "__init_end"]], use: "w", empty: true },
  { name: ".init.text", bounds: [["_sinittext", "_einittext"]], use: "x", empty: true },
  { name: ".data..percpu", bounds: [["__per_cpu_start", "__per_cpu_end"]], use: "w", perCpu: true },
  { name: ".bss", bounds: [["__bss_start", "__bss_stop"]], use: "w", empty: true },
  { name: ".brk", bounds: [["__brk_base", "__brk_limit"]], use: "w", empty: true },
  { name: ".init.scratch", bounds: [["__init_scratch_begin", "__init_scratch_end"]], use: "w", empty: true },
  { name: "__ex_table", bounds: [["__start___ex_table", "__stop___ex_table"]], use: "r", table: true },
  { name: ".BTF", bounds: [["__start_BTF", "__stop_BTF"]], use: "r", table: true },
  { name: ".notes", bounds: [["__start_notes", "__stop_notes"]], use: "r", align: 4, table: true },
  { name: ".orc_header", bounds: [["__start_orc_header", "__stop_orc_header"]], use: "r", table: true },
  {
    name: ".orc_unwind_ip",
    bounds: [["__start_orc_unwind_ip", "__stop_orc_unwind_ip"]],
    use: "r",
    align: 4,
    table: true,
  },
  {
    name: ".orc_unwind",
    bounds: [["__start_orc_unwind", "__stop_orc_unwind"]],
    use: "r",
    align: 2,
    table: true,
  },
  { name: ".orc_lookup", bounds: [["orc_lookup", "orc_lookup_end"]], use: "w", table: true },
];

/** Names of the symbols at which parts of a kernel's image begin and end. */
export const IMAGE_BOUNDS: readonly string[] = PARTS.flatMap(({ bounds }) => bounds.flat());

/** Bytes of a whole image: x86_64 keeps 1 GiB of addresses for it. */
const LARGEST_IMAGE = 256 << 20;
/** Pieces of all parts: each becomes a section, and ELF numbers fewer than 65,280 of them. */
const MOST_PIECES = 8192;
/** What the name of a section ends with whose contents memory lacks: tools want contents in `.text` and `.data`. */
const ABSENT = ".absent";
const PAGE = 4096;
const STEP = 1 << 20;

/** A section of the kernel's image at its link address. */
export interface ImageSection {
  readonly name: string;
  readonly use: "x" | "w" | "r";
  readonly start: bigint;
  readonly size: number;
  readonly align: number;
  /** Reads its contents; undefined where the file holds none. */
  readonly contents?: Contents;
  /** Per-CPU data, whose addresses are offsets on some kernels. */
  readonly perCpu?: true;
}

interface Range {
  readonly part: Part;
  readonly start: bigint;
  readonly end: bigint;
}

/** What is in the image and what of it can be read. */
export interface ImageSections {
  /** By ascending address, not overlapping. */
  readonly sections: readonly ImageSection[];
  /** Names of parts and how many of their bytes are missing. */
  readonly missing: ReadonlyMap<string, number>;
}

/** The parts of a kernel's image and what of them memory has: their contents are read when they are asked for. */
export async function readImage(kernel: Kernel): Promise<ImageSections> {
  const sections: ImageSection[] = [];
  const missing = new Map<string, number>();
  let left = LARGEST_IMAGE;
  let piecesLeft = MOST_PIECES;
  for (const { part, start, end } of ranges(kernel)) {
    const size = Number(end - start);
    const { name, use, align = 16 } = part;
    const shape = {
      name,
      use,
      align: Number(start & BigInt(align - 1)) === 0 ? align : 1,
      ...(part.perCpu === true ? { perCpu: true as const } : {}),
    };
    if (part.empty === true || size > left) {
      const isMissing = part.empty !== true;
      if (isMissing) missing.set(name, (missing.get(name) ?? 0) + size);
      sections.push({ ...shape, name: isMissing ? `${name}${ABSENT}` : name, start, size });
      continue;
    }
    left -= size;
    const from = runAddress(kernel, start) + (part.perCpu === true ? await firstCpu(kernel) : 0n);
    const pieces = await findPieces(kernel, BigInt.asUintN(64, from), size);
    const kept = part.table === true && pieces.length > 1 ? [{ size }] : atMost(pieces, piecesLeft);
    piecesLeft -= kept.length;
    const lacks = kept.reduce((sum, piece) => sum + (piece.contents === undefined ? piece.size : 0), 0);
    if (lacks > 0) missing.set(name, (missing.get(name) ?? 0) + lacks);
    let at = start;
    for (const { size: bytes, contents } of kept) {
      sections.push(
        contents === undefined
          ? { ...shape, name: `${name}${ABSENT}`, start: at, size: bytes }
          : { ...shape, start: at, size: bytes, contents },
      );
      at += BigInt(bytes);
    }
  }
  return { sections, missing };
}

/** The first pieces, and one without contents for all others. */
function atMost(pieces: readonly Piece[], most: number): readonly Piece[] {
  if (pieces.length <= most) return pieces;
  const kept = pieces.slice(0, Math.max(0, most - 1));
  const rest = pieces.slice(kept.length).reduce((sum, { size }) => sum + size, 0);
  return [...kept, { size: rest }];
}

/** Distance from per-CPU symbols to the first CPU's copies; 0 where it is not known: nothing is mapped there. */
async function firstCpu(kernel: Kernel): Promise<bigint> {
  try {
    return await kernel.perCpuOffset(0);
  } catch (error) {
    if (error instanceof AbsentError) return 0n;
    throw error;
  }
}

/** The parts by ascending address: each without what is cut out of it. */
function ranges(kernel: Kernel): Range[] {
  let found: Range[] = [];
  for (const part of PARTS) {
    const range = rangeOf(kernel, part);
    if (range === undefined) continue;
    found = found.flatMap((other) => without(other, range));
    found.push(range);
  }
  return found.sort((a, b) => (a.start < b.start ? -1 : 1));
}

function rangeOf(kernel: Kernel, part: Part): Range | undefined {
  for (const [from, to] of part.bounds) {
    const first = kernel.symbols?.address(from);
    const last = kernel.symbols?.address(to);
    if (first === undefined || last === undefined) continue;
    const start = linkAddress(kernel, first);
    const end = linkAddress(kernel, last);
    if (end > start && end - start < 1n << 31n) return { part, start, end };
  }
  return undefined;
}

/** What is left of a range when another is cut out of it. */
function without(range: Range, { start, end }: Range): Range[] {
  if (end <= range.start || start >= range.end) return [range];
  const left: Range[] = [];
  if (start > range.start) left.push({ ...range, end: start });
  if (end < range.end) left.push({ ...range, start: end });
  return left;
}

interface Piece {
  size: number;
  readonly contents?: Contents;
}

/** Looks at a part: pieces that are there, and pieces of whole pages that are not. */
async function findPieces(kernel: Kernel, from: bigint, size: number): Promise<Piece[]> {
  const pieces: Piece[] = [];
  const buffer = new Uint8Array(Math.min(STEP, size));
  for (let done = 0; done < size; ) {
    const part = buffer.subarray(0, size - done);
    const at = from + BigInt(done);
    const n = await kernel.space.read(at, part);
    const last = pieces.at(-1);
    if (n > 0) {
      if (last?.contents === undefined) {
        const piece: Piece = { size: n, contents: () => readAll(kernel, at, piece.size) };
        pieces.push(piece);
      } else last.size += n;
      done += n;
    }
    if (n === part.length) continue;
    const within = Number((from + BigInt(done)) & BigInt(PAGE - 1));
    const gap = Math.min(PAGE - within, size - done);
    const before = pieces.at(-1);
    if (before !== undefined && before.contents === undefined) before.size += gap;
    else pieces.push({ size: gap });
    done += gap;
  }
  return pieces;
}

/** Reads memory that is there. @throws AbsentError when it has gone, as it can in a running process */
async function* readAll(kernel: Kernel, from: bigint, size: number): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(STEP, size));
  for (let done = 0; done < size; ) {
    const part = buffer.subarray(0, size - done);
    const n = await kernel.space.read(from + BigInt(done), part);
    if (n < part.length)
      throw absent(
        LINUX_RULES.memory,
        `the kernel's image at 0x${(from + BigInt(done + n)).toString(16)} is gone`,
      );
    yield part;
    done += part.length;
  }
}
