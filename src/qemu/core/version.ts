import { latin1, latin1Bytes } from "../../binary/layout.js";
import type { ElfFile } from "../../elf/file.js";

const BANNER = latin1Bytes("QEMU emulator version ");
const LONGEST = 64;
/** Read-only data of the largest emulators is a few MiB. */
const LARGEST = 64 << 20;

/** The version a QEMU program states in its text for `--version`: `7.2.22`. A core does not have that text. */
export async function programVersion(program: ElfFile): Promise<string | undefined> {
  const section = await program.section(".rodata");
  if (section === undefined || section.size > LARGEST) return undefined;
  const data = await program.sectionData(section);
  for (let at = data.indexOf(0x51); at !== -1; at = data.indexOf(0x51, at + 1)) {
    if (!BANNER.every((byte, i) => data[at + i] === byte)) continue;
    const text = latin1(data.subarray(at + BANNER.length, at + BANNER.length + LONGEST));
    return /^\d+(?:\.\d+)+/.exec(text)?.[0];
  }
  return undefined;
}
