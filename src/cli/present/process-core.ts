import * as path from "node:path";
import { type LoadedImage, ProcessCore } from "../../elf/core.js";
import type { ByteSource } from "../../io/byte-source.js";
import { hex, size } from "../terminal.js";
import { counted, factLines } from "./presenter.js";

const PT_LOAD = 1;
/** Mappings this large are guest RAM more often than not. */
const LEAST_RAM = 4 << 20;
/** PF_W: guest RAM can be written. */
const WRITABLE = 2;
/** Pages looked at in a mapping. */
const SAMPLES = 256;
const PAGE = 4096;
/** Mappings listed. */
const MOST_MAPPINGS = 8;

/** What a core's own notes hold, which needs no debug information. */
export interface ProcessFacts {
  /** The program's path, or its name as far as a note keeps it. */
  readonly program: string | undefined;
  /** False for a program whose name says that it is no QEMU. */
  readonly mayBeQemu: boolean;
  readonly lines: readonly string[];
}

/** Reads what ELF notes and mappings say of a core. @throws GuestscopeError for a file that is none */
export async function processFacts(source: ByteSource): Promise<ProcessFacts> {
  const core = await ProcessCore.open(source);
  const image: Partial<LoadedImage> = core.auxv.size === 0 ? {} : await core.mainImage();
  const program = image.path ?? core.process?.fileName;
  const signal = core.threads[0]?.signal;
  const lines = factLines(`${source.name}: core of a process`, [
    ["program", program],
    ["build id", image.buildId],
    ["command line", core.process?.commandLine],
    ["signal", signal === undefined ? undefined : String(signal)],
    ["threads", String(core.threads.length)],
    ["mappings", counted(core.elf.segments.length, "mapping")],
  ]);
  const name = program === undefined ? "" : path.basename(program);
  const mayBeQemu = name === "" || /qemu|kvm/i.test(name);
  return { program, mayBeQemu, lines: mayBeQemu ? [...lines, ...(await memoryLines(core))] : lines };
}

const writable = (flags = 0): boolean => (flags & WRITABLE) !== 0;

/** The largest mappings that no file names and that have contents: likely the guest's RAM. */
async function memoryLines(core: ProcessCore): Promise<string[]> {
  const { segments } = core.elf;
  const large: { start: number; bytes: number; held: number }[] = [];
  for (let i = 0; i < segments.length; i += 1) {
    const bytes = segments.memsz[i] ?? 0;
    if (segments.type[i] !== PT_LOAD || bytes < LEAST_RAM || !writable(segments.flags[i])) continue;
    large.push({ start: Number(segments.vaddr[i] ?? 0n), bytes, held: segments.filesz[i] ?? 0 });
  }
  large.sort((a, b) => b.bytes - a.bytes);
  const lines: string[] = [];
  for (const { start, bytes, held } of large.slice(0, MOST_MAPPINGS)) {
    const used = await usedShare(core, start, held);
    const file = core.files.find((mapped) => mapped.start < start + bytes && mapped.end > start)?.path;
    const what =
      held === 0
        ? `no contents in the core${file === undefined ? "" : `: mapped from ${file}`}`
        : `${Math.round(100 * used)}% of the pages looked at are in use`;
    lines.push(`  ${hex(start)}  ${size(bytes)}, ${what}`);
  }
  return lines.length === 0
    ? []
    : ["large writable mappings: guest RAM, where the core has it, is among them", ...lines];
}

/** Share of pages that aren't all zero, of those looked at, evenly spread. */
async function usedShare(core: ProcessCore, start: number, bytes: number): Promise<number> {
  const page = new Uint8Array(PAGE);
  const step = Math.max(PAGE, Math.floor(bytes / SAMPLES / PAGE) * PAGE);
  let looked = 0;
  let used = 0;
  for (let at = start; at < start + bytes; at += step) {
    if ((await core.read(at, page)) < PAGE) continue;
    looked += 1;
    if (page.some((byte) => byte !== 0)) used += 1;
  }
  return looked === 0 ? 0 : used / looked;
}
