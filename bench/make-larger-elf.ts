import * as fs from "node:fs";
import { ehdr64, phdr64, PT_LOAD } from "../src/elf/layout.js";

const PAGE = 4096;
const GIB = 2 ** 30;

/**
 * Makes the vmcore of a larger guest: the memory of `small` (an ELF core that begins with its program headers), and RAM
 * from 4 GiB up to `size`, if that is more, which is a hole in the file. Its VMCOREINFO note gets another name, so that it has to be found
 * in memory, as with a hypervisor that knows none.
 */
export function makeLargerElf(small: string, large: string, size: number): void {
  const input = fs.openSync(small, "r");
  const head = Buffer.alloc(PAGE);
  fs.readSync(input, head, 0, PAGE, 0);
  const ehdr = ehdr64.decode(head.subarray(0, ehdr64.size), "little");
  const length = fs.fstatSync(input).size;
  const more = size - 4 * GIB;
  const out = fs.openSync(large, "w");
  // one more program header, and all contents a page later
  const phoff = ehdr64.size;
  fs.writeSync(
    out,
    ehdr64.encode({ ...ehdr, e_phoff: phoff, e_phnum: ehdr.e_phnum + (more > 0 ? 1 : 0) }, "little"),
  );
  const headers = Array.from({ length: ehdr.e_phnum }, (_, i) => {
    const at = ehdr.e_phoff + i * phdr64.size;
    const header = phdr64.decode(head.subarray(at, at + phdr64.size), "little");
    return { ...header, p_offset: header.p_offset + PAGE };
  });
  const tail = { p_flags: 7, p_vaddr: 0n, p_align: 0n, p_filesz: more, p_memsz: more };
  // after the RAM, before the mappings of the kernel's image, whose physical addresses are among the RAM's
  const ram = headers.findIndex(({ p_paddr }, i) => i > 1 && p_paddr < (headers[i - 1]?.p_paddr ?? 0n));
  if (more > 0)
    headers.splice(ram === -1 ? headers.length : ram, 0, {
      ...tail,
      p_type: PT_LOAD,
      p_offset: length + PAGE,
      p_paddr: BigInt(4 * GIB),
    });
  for (const header of headers) fs.writeSync(out, phdr64.encode(header, "little"));
  const chunk = Buffer.alloc(4 << 20);
  for (let at = 0; at < length; ) {
    const n = fs.readSync(input, chunk, 0, chunk.length, at);
    if (n === 0) break;
    fs.writeSync(out, chunk, 0, n, at + PAGE);
    at += n;
  }
  fs.writeSync(out, nameless(head), 0, PAGE, PAGE);
  fs.ftruncateSync(out, length + PAGE + more);
  fs.closeSync(out);
  fs.closeSync(input);
}

/** The first page with the name of its VMCOREINFO note changed. */
function nameless(head: Buffer): Buffer {
  const at = head.indexOf("VMCOREINFO\0");
  if (at === -1) throw new Error("bench: no VMCOREINFO note in the first page");
  const copy = Buffer.from(head);
  copy.write("LEFT OUT", at, "latin1");
  return copy;
}
