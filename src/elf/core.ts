import { ELF_RULES } from "./rules.js";
import type { MaybePromise, ByteSource } from "../io/byte-source.js";
import { AbsentError, FormatError } from "../findings/errors.js";
import {
  type CoreProcess,
  type CoreThread,
  readAuxv,
  readFileNote,
  readPrpsinfo,
  readPrstatus,
} from "./core-notes.js";
import { buildIdOf, ElfFile } from "./file.js";
import {
  AT_ENTRY,
  AT_EXECFN,
  AT_PHDR,
  ehdr32,
  ehdr64,
  ET_CORE,
  ET_EXEC,
  NT_AUXV,
  NT_FILE,
  NT_PRPSINFO,
  NT_PRSTATUS,
  PT_LOAD,
  PT_NOTE,
  PF_W,
  PT_PHDR,
} from "./layout.js";
import { readNotes } from "./notes.js";
import {
  type MappedFile,
  mappedFileAt,
  type ProcessMapping,
  type ProcessMemory,
  processSource,
} from "./process-memory.js";
import { SegmentMemory } from "./segment-memory.js";

const SPEC = "Linux core file";
/** A program's headers and first notes are in its first page, or a few. */
const IMAGE_HEAD = 1 << 16;
const NOTE_LIMIT = 1 << 16;

/** A program or library as it is in the memory of a process. */
export interface LoadedImage {
  /** Address of its ELF header. */
  readonly base: number;
  /** As NT_FILE or the kernel named it; undefined when nothing says. */
  readonly path: string | undefined;
  /** Its headers as read out of memory; undefined when that page is not in the core. */
  readonly elf: ElfFile | undefined;
  /** In hexadecimal. */
  readonly buildId: string | undefined;
}

/** The core of a process, written by the kernel or by gcore. */
export class ProcessCore implements ProcessMemory {
  readonly elf: ElfFile;
  readonly files: readonly MappedFile[];
  /** NT_AUXV: tag → value. */
  readonly auxv: ReadonlyMap<number, bigint>;
  readonly threads: readonly CoreThread[];
  readonly process: CoreProcess | undefined;
  readonly #memory: SegmentMemory;

  private constructor(
    elf: ElfFile,
    parts: Pick<ProcessCore, "files" | "auxv" | "threads" | "process">,
    memory: SegmentMemory,
  ) {
    this.elf = elf;
    this.files = parts.files;
    this.auxv = parts.auxv;
    this.threads = parts.threads;
    this.process = parts.process;
    this.#memory = memory;
  }

  /** @throws FormatError `elf/core/type` when the file is no core; `elf/…` when it is damaged. */
  static async open(source: ByteSource): Promise<ProcessCore> {
    const elf = await ElfFile.open(source);
    if (elf.header.e_type !== ET_CORE) {
      throw elf.error(
        ELF_RULES.coreType,
        `an ELF file of type ${elf.header.e_type}, not a core (type 4)`,
        16,
      );
    }
    let files: MappedFile[] = [];
    let auxv = new Map<number, bigint>();
    let process: CoreProcess | undefined;
    const threads: CoreThread[] = [];
    const { bits, order, name } = elf;
    for (const note of await elf.notes()) {
      if (note.name !== "CORE") continue;
      if (note.type === NT_PRSTATUS) threads.push(readPrstatus(note, bits, order, name));
      else if (note.type === NT_PRPSINFO) process ??= readPrpsinfo(note, order);
      else if (note.type === NT_AUXV) auxv = readAuxv(note, bits, order);
      else if (note.type === NT_FILE) files = readFileNote(note, bits, order, name);
    }
    return new ProcessCore(elf, { files, auxv, threads, process }, new SegmentMemory(source, elf.segments));
  }

  get name(): string {
    return this.elf.name;
  }

  get source(): ByteSource {
    return this.elf.source;
  }

  get mappings(): readonly ProcessMapping[] {
    const { type, flags, vaddr, memsz, length } = this.elf.segments;
    const found: ProcessMapping[] = [];
    for (let i = 0; i < length; i += 1) {
      const start = Number(vaddr[i] ?? 0n);
      const end = start + (memsz[i] ?? 0);
      if (type[i] === PT_LOAD && Number.isSafeInteger(end) && end > start)
        found.push({ start, end, writable: ((flags[i] ?? 0) & PF_W) !== 0 });
    }
    return found.sort((a, b) => a.start - b.start);
  }

  /** Bytes that the segments promise beyond the end of the file. */
  get missing(): number {
    return this.#memory.missing;
  }

  read(address: number, into: Uint8Array): MaybePromise<number> {
    return this.#memory.read(address, into);
  }

  pieces(start: number, end: number): ReturnType<SegmentMemory["pieces"]> {
    return this.#memory.pieces(start, end);
  }

  /** The program the process runs: the image whose program headers AT_PHDR points at. */
  mainImage(): Promise<LoadedImage> {
    return mainImage(this, this.auxv);
  }
}

/**
 * The program a process runs, from the addresses that the kernel gave it.
 *
 * @throws AbsentError `elf/core/no-auxv` without AT_PHDR.
 */
export async function mainImage(
  memory: ProcessMemory,
  auxv: ReadonlyMap<number, bigint>,
): Promise<LoadedImage> {
  const phdr = auxv.get(AT_PHDR);
  if (phdr === undefined) {
    const text = "no auxiliary vector (NT_AUXV with AT_PHDR): not the core of a process";
    throw new AbsentError(ELF_RULES.coreNoAuxv, text, { source: memory.name, spec: SPEC });
  }
  const address = Number(phdr);
  const mapping = mappedFileAt(memory, address);
  // where the headers follow the ELF header at once, and where the file's first page is mapped
  const candidates = [address - ehdr64.size, address - ehdr32.size];
  const first = mapping && memory.files.find((f) => f.path === mapping.path && f.fileOffset === 0);
  if (first !== undefined) candidates.unshift(first.start);
  for (const base of candidates) {
    const image = await imageAt(memory, base, mapping?.path);
    if (image.elf !== undefined && base + image.elf.header.e_phoff === address) return image;
  }
  const path = mapping?.path ?? (await executablePath(memory, auxv));
  return { base: first?.start ?? address - ehdr64.size, path, elf: undefined, buildId: undefined };
}

/** The path given to execve, from the stack of the process. */
async function executablePath(
  memory: ProcessMemory,
  auxv: ReadonlyMap<number, bigint>,
): Promise<string | undefined> {
  const address = auxv.get(AT_EXECFN);
  if (address === undefined) return undefined;
  const bytes = new Uint8Array(4096);
  const read = await memory.read(Number(address), bytes);
  const nul = bytes.subarray(0, read).indexOf(0);
  return nul <= 0 ? undefined : new TextDecoder("utf-8").decode(bytes.subarray(0, nul));
}

/** The image whose ELF header is at `base`; `elf` is undefined when there is no such header to be read. */
export async function imageAt(
  memory: ProcessMemory,
  base: number,
  path: string | undefined,
): Promise<LoadedImage> {
  const name = path === undefined ? memory.name : `${path} in ${memory.name}`;
  let elf: ElfFile;
  try {
    elf = await ElfFile.open(processSource(memory, base, IMAGE_HEAD, name));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { base, path, elf: undefined, buildId: undefined };
  }
  return { base, path, elf, buildId: await loadedBuildId(memory, elf, base) };
}

/** The build id by the notes of an image in memory: they are where p_vaddr says, not p_offset. */
async function loadedBuildId(memory: ProcessMemory, elf: ElfFile, base: number): Promise<string | undefined> {
  const lowest = lowestLoad(elf);
  if (lowest === undefined) return undefined;
  for (let i = 0; i < elf.segments.length; i += 1) {
    if (elf.segments.type[i] !== PT_NOTE) continue;
    const { p_vaddr, p_memsz, p_align } = elf.segments.at(i);
    const address = base + Number(p_vaddr) - lowest;
    if (p_memsz > NOTE_LIMIT || address < 0 || !Number.isSafeInteger(address + p_memsz)) continue;
    const bytes = new Uint8Array(p_memsz);
    if ((await memory.read(address, bytes)) < p_memsz) continue;
    const place = { source: elf.name, offset: address - base };
    const id = buildIdOf(readNotes(bytes, elf.order, place, Number(p_align)));
    if (id !== undefined) return id;
  }
  return undefined;
}

/** Lowest p_vaddr of a PT_LOAD, down to the page. */
function lowestLoad(elf: ElfFile): number | undefined {
  let lowest: number | undefined;
  for (let i = 0; i < elf.segments.length; i += 1) {
    if (elf.segments.type[i] !== PT_LOAD) continue;
    const start = Number(elf.segments.vaddr[i]);
    if (lowest === undefined || start < lowest) lowest = start;
  }
  return lowest === undefined ? undefined : lowest - (lowest % 4096);
}

/** How a load bias was found, and what agrees with it. */
export interface LoadBias {
  /** Run-time minus link-time address. */
  readonly bias: number;
  /** The ways that gave it: `AT_ENTRY`, `AT_PHDR`, `NT_FILE`; `ET_EXEC` for a program that is never moved. */
  readonly by: readonly string[];
}

/**
 * The difference between run-time and link-time addresses of a program.
 *
 * @param program The program or its separate debug file; the image in memory does as well.
 * @param base Address of its ELF header in memory, where known.
 * @throws FormatError `elf/core/other-program` when the ways to find it disagree: the core is of another program.
 */
export function loadBias(
  source: string,
  auxv: ReadonlyMap<number, bigint>,
  program: ElfFile,
  base: number | undefined,
): LoadBias {
  const found: { by: string; bias: number }[] = [];
  const entry = auxv.get(AT_ENTRY);
  if (entry !== undefined) found.push({ by: "AT_ENTRY", bias: Number(entry - program.header.e_entry) });
  const phdrs = auxv.get(AT_PHDR);
  const own = program.segments.type.indexOf(PT_PHDR);
  const linked = program.segments.vaddr[own];
  if (phdrs !== undefined && linked !== undefined)
    found.push({ by: "AT_PHDR", bias: Number(phdrs - linked) });
  const lowest = lowestLoad(program);
  if (base !== undefined && lowest !== undefined) found.push({ by: "NT_FILE", bias: base - lowest });
  if (program.header.e_type === ET_EXEC) found.unshift({ by: "ET_EXEC", bias: 0 });
  const [first] = found;
  if (first === undefined) {
    throw new AbsentError(ELF_RULES.coreNoAuxv, "nothing in the core says where the program was loaded", {
      source,
      spec: SPEC,
    });
  }
  if (found.some(({ bias }) => bias !== first.bias)) {
    const ways = found.map(({ by, bias }) => `${by} ${bias < 0 ? "-" : ""}0x${Math.abs(bias).toString(16)}`);
    const text = `not the program of this core: its load address is ${ways.join(", ")}`;
    throw new FormatError(ELF_RULES.coreOtherProgram, text, { source: program.name });
  }
  return { bias: first.bias, by: found.map(({ by }) => by) };
}
