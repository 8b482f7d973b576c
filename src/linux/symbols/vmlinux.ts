import type { ByteSink } from "../../io/byte-sink.js";
import { buildIdOf } from "../../elf/file.js";
import { encodeNote, readNotes } from "../../elf/notes.js";
import { FormatError } from "../../findings/errors.js";
import type { Kernel } from "../kernel.js";
import { LINUX_RULES } from "../rules.js";
import {
  plain,
  type Section,
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHF_MERGE_STRINGS,
  SHF_WRITE,
  SHT_NOBITS,
  SHT_NOTE,
  SHT_PROGBITS,
  SHT_STRTAB,
  SHT_SYMTAB,
  writeElf,
} from "./elf-file.js";
import { elfSymbols, functionCode } from "./elf-symbols.js";
import { type ImageSection, readImage } from "./image-sections.js";
import { kernelBtf } from "./kernel-btf.js";
import { kernelDwarf } from "./kernel-dwarf.js";

/** What was written. */
export interface VmlinuxSummary {
  readonly symbols: number;
  readonly types: number;
  readonly variables: number;
  readonly bytes: number;
}

const EM_X86_64 = 62;
const EM_AARCH64 = 183;
const NT_GNU_BUILD_ID = 3;

/**
 * Writes an ELF file that stands in for the kernel's own vmlinux: the image's sections at their link addresses with
 * their contents where the guest's memory has them, symbols, BTF, debug information made from BTF, and the build id. What
 * memory lacks has no contents in the file (SHT_NOBITS) and is noted.
 *
 * @throws AbsentError, FormatError that says why symbols or types are missing.
 */
export async function writeVmlinux(kernel: Kernel, sink: ByteSink): Promise<VmlinuxSummary> {
  const btf = kernelBtf(kernel);
  kernel.needSymbols();
  const image = await readImage(kernel);
  for (const [name, bytes] of image.missing)
    kernel.note(
      LINUX_RULES.memory,
      `${bytes} bytes of the kernel's ${name} can't be read: the symbol file has no contents there`,
    );
  const alloc = image.sections.map(allocated);
  const symbols = elfSymbols(kernel, image.sections);
  const dwarf = kernelDwarf(kernel, btf, functionCode(kernel, image.sections));
  // drgn knows a vmlinux by this name among sections with contents, of which this kernel has given away the memory
  const more: Section[] = [plain(".init.text", new Uint8Array(0))];
  if (!alloc.some(({ name }) => name === ".BTF")) more.push(plain(".BTF", btf.bytes));
  const note = await buildIdNote(kernel, image.sections);
  if (note !== undefined) more.push({ ...plain(".note.gnu.build-id", note), type: SHT_NOTE, align: 4 });
  more.push(plain(".debug_info", dwarf.info), plain(".debug_abbrev", dwarf.abbrev), {
    ...plain(".debug_str", dwarf.str),
    flags: SHF_MERGE_STRINGS,
    entrySize: 1,
  });
  const table = alloc.length + more.length + 1;
  more.push(
    {
      ...plain(".symtab", symbols.entries),
      type: SHT_SYMTAB,
      align: 8,
      link: table + 1,
      info: symbols.locals,
      entrySize: 24,
    },
    { ...plain(".strtab", symbols.strings), type: SHT_STRTAB },
  );
  const bytes = await writeElf(
    kernel.arch.name === "aarch64" ? EM_AARCH64 : EM_X86_64,
    [...alloc, ...more],
    sink,
  );
  return { symbols: symbols.count, types: btf.endId - 1, variables: dwarf.variables, bytes };
}

function allocated({ name, use, start, size, align, contents, perCpu }: ImageSection): Section {
  // without contents there is no code to execute
  const isCode = use === "x" && contents !== undefined;
  const flags = SHF_ALLOC | (isCode ? SHF_EXECINSTR : use === "w" ? SHF_WRITE : 0n);
  // .notes has types that only Linux and Xen know; its build id is in a section of its own
  const type = contents === undefined ? SHT_NOBITS : SHT_PROGBITS;
  return {
    name,
    type,
    flags,
    address: start,
    size,
    align,
    contents: contents ?? [],
    ...(perCpu === true ? { inside: true as const } : {}),
  };
}

/** The note that names the kernel's build: as VMCOREINFO gives it, or else the kernel's own notes. */
async function buildIdNote(
  kernel: Kernel,
  sections: readonly ImageSection[],
): Promise<Uint8Array | undefined> {
  const id =
    kernel.info.get("BUILD-ID") ?? (await ownBuildId(sections.find(({ name }) => name === ".notes")));
  if (id === undefined || !/^([0-9a-f]{2}){1,64}$/.test(id)) return undefined;
  const value = Uint8Array.from(id.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  return encodeNote("GNU", NT_GNU_BUILD_ID, value, "little");
}

async function ownBuildId(notes: ImageSection | undefined): Promise<string | undefined> {
  try {
    for await (const bytes of notes?.contents?.() ?? [])
      return buildIdOf(readNotes(bytes, "little", { source: ".notes", offset: 0 }));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
  }
  return undefined;
}
