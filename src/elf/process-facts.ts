import { GuestscopeError } from "../findings/errors.js";
import { programArguments } from "./arguments.js";
import { type LoadedImage, mainImage, ProcessCore } from "./core.js";
import { PT_LOAD } from "./layout.js";
import type { ProcessMemory } from "./process-memory.js";

/** Mappings this large are guest RAM more often than not. */
const LEAST_RAM = 4 << 20;
/** QEMU aligns guest RAM to this much on most Linux hosts (QEMU_VMALLOC_ALIGN in include/qemu/osdep.h). */
const RAM_ALIGNMENT = 2 << 20;
/** PF_W: guest RAM can be written. */
const WRITABLE = 2;
/** Pages looked at in a mapping. */
const SAMPLES = 256;
const PAGE = 4096;
/** Mappings listed. */
const MOST_MAPPINGS = 8;
/** pr_psargs holds this many characters of the arguments. */
const MOST_ARGUMENTS = 79;

/** A large mapping that can be written: guest RAM is among them. */
export interface LargeMapping {
  /** Hexadecimal. */
  readonly address: string;
  readonly bytes: number;
  /** Bytes whose contents are there. */
  readonly held: number;
  /** Share of pages that aren't all zero, 0 to 1, of those looked at; left out without contents. */
  readonly usedShare?: number;
  /** Whether it is aligned as QEMU aligns guest RAM: heaps and stacks are not. */
  readonly likelyRam: boolean;
  /** The file that is mapped there. */
  readonly file?: string;
}

/** What a core's own notes, or /proc, hold of a process: known without debug information. */
export interface ProcessFacts {
  /** The program's path, or its name as far as a note keeps it. */
  readonly program?: string;
  /** Hexadecimal. */
  readonly buildId?: string;
  readonly commandLine?: string;
  /** The note keeps 79 characters of the command line: there may be more. */
  readonly commandLineCut?: boolean;
  /** The signal that ended it. */
  readonly signal?: number;
  readonly threads: number;
  readonly mappings: number;
  /** The largest first. */
  readonly largeMappings: readonly LargeMapping[];
  /** False for a program whose name is not QEMU's. */
  readonly mayBeQemu: boolean;
}

/** A mapping of a process: addresses of user space, bytes. */
export interface HeldMapping {
  readonly start: number;
  readonly bytes: number;
  readonly held: number;
  readonly writable: boolean;
}

/** What is known of a process before its memory is read. */
export interface KnownProcess {
  readonly program: string | undefined;
  readonly commandLine: string | undefined;
  readonly commandLineCut?: boolean;
  readonly signal?: number | undefined;
  readonly threads: number;
  readonly mappings: readonly HeldMapping[];
}

/** Reads what ELF notes and mappings say of a core. @throws GuestscopeError for a file that is none */
export async function coreFacts(core: ProcessCore): Promise<ProcessFacts> {
  const { segments } = core.elf;
  const mappings: HeldMapping[] = [];
  for (let i = 0; i < segments.length; i += 1) {
    if (segments.type[i] !== PT_LOAD) continue;
    mappings.push({
      start: Number(segments.vaddr[i] ?? 0n),
      bytes: segments.memsz[i] ?? 0,
      held: segments.filesz[i] ?? 0,
      writable: ((segments.flags[i] ?? 0) & WRITABLE) !== 0,
    });
  }
  const commandLine = core.process?.commandLine;
  return processFacts(core, core.auxv, {
    program: core.process?.fileName,
    commandLine,
    commandLineCut: (commandLine?.length ?? 0) >= MOST_ARGUMENTS,
    signal: core.threads[0]?.signal,
    threads: core.threads.length,
    mappings,
  });
}

/** The facts of a process whose notes, or /proc, are read. */
export async function processFacts(
  memory: ProcessMemory,
  auxv: ReadonlyMap<number, bigint>,
  known: KnownProcess,
): Promise<ProcessFacts> {
  const image = await imageOf(memory, auxv);
  const program = image.path ?? known.program;
  const { signal, threads, mappings } = known;
  const whole = (await programArguments(memory, auxv))?.join(" ");
  const commandLine = whole ?? known.commandLine;
  const commandLineCut = whole === undefined && known.commandLineCut === true;
  const name = program?.replace(/ \(deleted\)$/, "").replace(/^.*\//, "") ?? "";
  const mayBeQemu = name === "" || /qemu|kvm/i.test(name);
  return {
    ...(program === undefined ? {} : { program }),
    ...(image.buildId === undefined ? {} : { buildId: image.buildId }),
    ...(commandLine === undefined ? {} : { commandLine }),
    ...(commandLineCut ? { commandLineCut } : {}),
    ...(signal === undefined || signal === 0 ? {} : { signal }),
    threads,
    mappings: mappings.length,
    largeMappings: mayBeQemu ? await largeMappings(memory, mappings) : [],
    mayBeQemu,
  };
}

/** The program's image; nothing of it where the memory that says so is missing or damaged. */
async function imageOf(
  memory: ProcessMemory,
  auxv: ReadonlyMap<number, bigint>,
): Promise<Partial<LoadedImage>> {
  if (auxv.size === 0) return {};
  return mainImage(memory, auxv).catch((error: unknown) => {
    if (error instanceof GuestscopeError) return {};
    throw error;
  });
}

async function largeMappings(
  memory: ProcessMemory,
  mappings: readonly HeldMapping[],
): Promise<LargeMapping[]> {
  const large = mappings.filter(({ writable, bytes }) => writable && bytes >= LEAST_RAM);
  const first = [...large].sort((a, b) => b.bytes - a.bytes).slice(0, MOST_MAPPINGS);
  const found: LargeMapping[] = [];
  for (const { start, bytes, held } of first) {
    const file = memory.files.find((mapped) => mapped.start < start + bytes && mapped.end > start)?.path;
    const usedShare = held === 0 ? undefined : await usedShareOf(memory, start, held);
    found.push({
      address: `0x${start.toString(16)}`,
      bytes,
      held,
      likelyRam: start % RAM_ALIGNMENT === 0,
      ...(usedShare === undefined ? {} : { usedShare }),
      ...(file === undefined ? {} : { file }),
    });
  }
  return found;
}

/** Share of pages that aren't all zero, of those looked at, evenly spread; undefined where none could be read. */
async function usedShareOf(memory: ProcessMemory, start: number, bytes: number): Promise<number | undefined> {
  const page = new Uint8Array(PAGE);
  const step = Math.max(PAGE, Math.floor(bytes / SAMPLES / PAGE) * PAGE);
  let looked = 0;
  let used = 0;
  for (let at = start; at < start + bytes; at += step) {
    if ((await memory.read(at, page)) < PAGE) continue;
    looked += 1;
    if (page.some((byte) => byte !== 0)) used += 1;
  }
  return looked === 0 ? undefined : used / looked;
}
