import { viewOf } from "../../binary/layout.js";
import { ehdr64, ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, EM_X86_64, ET_CORE } from "../../elf/layout.js";

/** Whether an ELF core has sections only, as `xl dump-core` writes it. */
export function isXenCore(head: Uint8Array): boolean {
  if (head.length < ehdr64.size || !ELF_MAGIC.every((byte, i) => head[i] === byte)) return false;
  if (head[4] !== ELFCLASS64 || head[5] !== ELFDATA2LSB) return false;
  const view = viewOf(head);
  const u16At = (field: "e_type" | "e_machine" | "e_phnum" | "e_shnum"): number =>
    view.getUint16(ehdr64.offsetOf(field), true);
  return (
    u16At("e_type") === ET_CORE &&
    u16At("e_machine") === EM_X86_64 &&
    u16At("e_phnum") === 0 &&
    u16At("e_shnum") > 1
  );
}
