import type { ByteOrder } from "../../binary/layout.js";
import type { Architecture } from "./architecture.js";
import { AARCH64, AARCH64_BE, ARM } from "./arm.js";
import { PPC64, PPC64_LE } from "./ppc64.js";
import { RISCV64 } from "./riscv64.js";
import { S390X } from "./s390x.js";
import { I386, X86_64 } from "./x86.js";

/** Every architecture there is, in each byte order. */
export const ARCHITECTURES: readonly Architecture[] = [
  X86_64,
  I386,
  ARM,
  AARCH64,
  AARCH64_BE,
  PPC64,
  PPC64_LE,
  S390X,
  RISCV64,
];

/** The architecture of an e_machine and byte order; undefined where none has it. */
export function architectureOfMachine(machine: number, order: ByteOrder): Architecture | undefined {
  // a 64-bit ELF file of EM_386 is QEMU's of a guest that never left 32-bit mode
  return ARCHITECTURES.find((arch) => arch.machine === machine && arch.order === order);
}

/** The architecture of a kernel by what uname -m says, its width and byte order. */
export function architectureOfUname(
  machine: string,
  bits: 32 | 64,
  order: ByteOrder,
): Architecture | undefined {
  const name = machine.toLowerCase();
  // QEMU gives a 32-bit x86 guest with memory up to 4 GiB the 64-bit headers
  if (I386.isUname(name)) return I386;
  return ARCHITECTURES.find((arch) => arch.isUname(name) && arch.bits === bits && arch.order === order);
}

/** The architecture whose NT_PRSTATUS has this size in this byte order. Two have the same: the first, which is older. */
export function architectureOfPrstatus(size: number | undefined, order: ByteOrder): Architecture | undefined {
  return ARCHITECTURES.find((arch) => arch.prstatus.layout.size === size && arch.order === order);
}
