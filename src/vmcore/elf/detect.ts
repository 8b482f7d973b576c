import { readU64, viewOf } from "../../binary/layout.js";
import {
  ehdr32,
  ehdr64,
  ELF_MAGIC,
  ELFCLASS64,
  ELFDATA2MSB,
  elfIdent,
  elfLayouts,
  ET_CORE,
  PT_LOAD,
} from "../../elf/layout.js";

/** Where a process on x86_64 has its legacy system call page. */
const VSYSCALL = 0xffff_ffff_ff60_0000n;
const KERNEL_HALF = 2n ** 63n;

/**
 * Whether an ELF core describes a machine's memory, not a process's: a program header has a physical address,
 * or a virtual one that no process has.
 */
export function isVmcore(head: Uint8Array): boolean {
  if (head.length < ehdr64.size || !ELF_MAGIC.every((byte, i) => head[i] === byte)) return false;
  const ident = elfIdent.decode(head, "little");
  const bits = ident.class === ELFCLASS64 ? 64 : 32;
  const order = ident.data === ELFDATA2MSB ? "big" : "little";
  const view = viewOf(head);
  const little = order === "little";
  const ehdr = bits === 64 ? ehdr64 : ehdr32;
  if (view.getUint16(ehdr.offsetOf("e_type"), little) !== ET_CORE) return false;
  const { phdr } = elfLayouts(bits);
  const count = view.getUint16(ehdr.offsetOf("e_phnum"), little);
  const phoffAt = ehdr.offsetOf("e_phoff");
  if (bits === 64 && view.getUint32(phoffAt + (little ? 4 : 0), little) !== 0) return false;
  const phoff = bits === 64 ? readU64(view, phoffAt, little) : view.getUint32(phoffAt, little);
  const word = (at: number): bigint =>
    bits === 64 ? view.getBigUint64(at, little) : BigInt(view.getUint32(at, little));
  for (let i = 0; i < count && phoff + (i + 1) * phdr.size <= head.length; i += 1) {
    const at = phoff + i * phdr.size;
    if (view.getUint32(at, little) !== PT_LOAD) continue;
    const virtual = word(at + phdr.offsetOf("p_vaddr"));
    if (word(at + phdr.offsetOf("p_paddr")) !== 0n || virtual === 0n) return true;
    if (virtual >= KERNEL_HALF && virtual < VSYSCALL) return true;
  }
  return false;
}
