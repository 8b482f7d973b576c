import { mappedFileAt, type ProcessMapping, type ProcessMemory } from "../../../elf/process-memory.js";
import type { AskedBlock } from "../../command-line/memory.js";

/** A mapping of the process that may be a block of RAM. */
export interface MappedBlock {
  readonly block: AskedBlock;
  /** Host address of its first byte. */
  readonly host: number;
}

/** Neighbouring writable mappings of one file, or of none, by address. */
interface Run {
  readonly start: number;
  readonly end: number;
  /** The file mapped at its start. */
  readonly path: string | undefined;
  /** Where its mappings begin and end. */
  readonly borders: readonly number[];
}

/** Alignment that QEMU gives memory on hosts with large pages of 2 MiB (QEMU_VMALLOC_ALIGN); without, a page. */
const ALIGNMENT = 2 << 20;
const GUARD = 4096;
/** More ways than this to take mappings for blocks are not tried. */
const MOST_WAYS = 24;
/** Names of files without a name of their own: memfd, shared anonymous and huge pages, SysV memory. */
const NAMELESS = /^\/(memfd:|dev\/zero|anon_hugepage|SYSV|dev\/shm\/qemu-\d)/;

/** Mappings that can be a block, the likelier ones alone: of its size and of the kind of its backend. */
export function mappingsOf(memory: ProcessMemory, block: AskedBlock): readonly MappedBlock[] {
  const runs = [...runsOf(memory), ...(block.isShared ? filesAlone(memory) : [])].filter(
    (run) => run.end - run.start >= block.size && isOfKind(run, block),
  );
  const exact = runs.flatMap(({ borders }) => {
    const ends = new Set(borders);
    return borders.filter((start) => ends.has(start + block.size));
  });
  // another mapping may have been joined to it
  const inside = exact.length > 0 ? exact : runs.flatMap(({ start, end }) => [start, end - block.size]);
  const aligned = new Set(inside.filter((host) => host % ALIGNMENT === 0));
  // QEMU keeps a page after a block unreadable; a core by gdb has none of these
  const guards = new Set(memory.mappings.flatMap((one) => (isGuard(one) ? [one.start] : [])));
  const guarded = [...aligned].filter((host) => guards.has(host + block.size));
  const hosts = guarded.length > 0 ? guarded : aligned.size > 0 ? aligned : new Set(exact);
  return [...hosts].map((host) => ({ block, host }));
}

const isGuard = ({ start, end, writable }: ProcessMapping): boolean => !writable && end - start === GUARD;

/**
 * All ways to take different mappings for blocks, each in the blocks' order; undefined: too many. Empty where a block has none.
 * @param choices mappings that can be each block
 */
export function waysToMap(
  choices: readonly (readonly MappedBlock[])[],
): readonly (readonly MappedBlock[])[] | undefined {
  let ways: readonly (readonly MappedBlock[])[] = [[]];
  for (const choice of choices) {
    ways = ways.flatMap((way) =>
      choice
        .filter(
          ({ host, block }) =>
            !way.some((one) => host < one.host + one.block.size && one.host < host + block.size),
        )
        .map((one) => [...way, one]),
    );
    if (ways.length > MOST_WAYS) return undefined;
  }
  return ways;
}

function isOfKind({ path }: Run, block: AskedBlock): boolean {
  if (!block.isShared) return path === undefined || NAMELESS.test(path);
  if (path === undefined) return false;
  if (block.path === undefined) return NAMELESS.test(path);
  const file = path.replace(/ \(deleted\)$/, "");
  return (
    isSameOrBelow(file, block.path) ||
    file.slice(file.lastIndexOf("/")) === block.path.slice(block.path.lastIndexOf("/"))
  );
}

/** mem-path names a file, or a directory where QEMU makes one. A path without a directory is in one that isn't known. */
function isSameOrBelow(file: string, path: string): boolean {
  return (
    file === path ||
    file.startsWith(`${path.replace(/\/+$/, "")}/`) ||
    file.endsWith(`/${path.replace(/^\.\//, "")}`)
  );
}

function runsOf(memory: ProcessMemory): readonly Run[] {
  const runs: { start: number; end: number; path: string | undefined; borders: number[] }[] = [];
  for (const { start, end, writable } of memory.mappings) {
    if (!writable) continue;
    const path = mappedFileAt(memory, start)?.path;
    const last = runs.at(-1);
    if (last !== undefined && last.end === start && last.path === path) {
      last.end = end;
      last.borders.push(end);
    } else runs.push({ start, end, path, borders: [start, end] });
  }
  return runs;
}

/** Files that were mapped where a core has no segment: gdb leaves those out that the process's filter leaves out. */
function filesAlone(memory: ProcessMemory): readonly Run[] {
  const starts = new Set(memory.mappings.map(({ start }) => start));
  return memory.files.flatMap(({ start, end, path }) =>
    starts.has(start) ? [] : [{ start, end, path, borders: [start, end] }],
  );
}
