import { ehdr64, ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, ET_CORE, phdr64 } from "../src/elf/layout.js";
import { X86_64 } from "../src/guest/arch/x86.js";

/** The ELF header of an x86_64 core whose program headers follow it. */
export function coreHeader(programHeaders: number): Uint8Array {
  const header = {
    e_ident: Uint8Array.of(...ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    e_type: ET_CORE,
    e_machine: X86_64.machine,
    e_version: 1,
    e_entry: 0n,
    e_phoff: ehdr64.size,
    e_shoff: 0,
    e_flags: 0,
    e_ehsize: ehdr64.size,
    e_phentsize: phdr64.size,
    e_phnum: programHeaders,
    e_shentsize: 0,
    e_shnum: 0,
    e_shstrndx: 0,
  };
  return ehdr64.encode(header, "little");
}
