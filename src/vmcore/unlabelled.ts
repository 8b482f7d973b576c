import { UsageError } from "../findings/errors.js";
import { AARCH64 } from "../guest/arch/arm.js";
import type { Architecture } from "../guest/arch/architecture.js";
import { ARCHITECTURES } from "../guest/arch/architectures.js";
import { RISCV64 } from "../guest/arch/riscv64.js";
import { I386, X86_64 } from "../guest/arch/x86.js";
import type { GuestImage } from "../guest/image.js";
import type { KernelSearch } from "../guest/options.js";
import { withVmcoreInfo } from "../guest/kernel/brought-vmcoreinfo.js";

/** Lines of VMCOREINFO that kernels of one architecture alone write (Linux, arch/<name>/kernel/vmcore_info.c). */
const SIGNS: readonly (readonly [sign: RegExp, arch: Architecture])[] = [
  [/^NUMBER\(kimage_voffset\)=/m, AARCH64],
  [/^NUMBER\((?:phys_ram_base|va_kernel_pa_offset)\)=/m, RISCV64],
  [/^SYMBOL\((?:init_top_pgt|init_level4_pgt)\)=/m, X86_64],
  [/^SYMBOL\(_stext\)=ffffffff[89a-f]/m, X86_64],
  [/^SYMBOL\(_stext\)=[0-9a-f]{8}$/m, I386],
];

/** The architecture that a kernel's VMCOREINFO is of; undefined: it doesn't say. */
function architectureOfVmcoreInfo(text: string): Architecture | undefined {
  return SIGNS.find(([sign]) => sign.test(text))?.[1];
}

/** The architecture that a caller names. @throws UsageError for a name that is no architecture's */
export function architectureNamed(name: string | undefined): Architecture | undefined {
  if (name === undefined) return undefined;
  const found = ARCHITECTURES.find((arch) => arch.name === name);
  if (found !== undefined) return found;
  const names = [...new Set(ARCHITECTURES.map((arch) => arch.name))].join(", ");
  throw new UsageError(`no architecture '${name}': there are ${names}`);
}

/**
 * A guest of a file that holds memory alone: its kernel's VMCOREINFO is looked for in memory and says which
 * architecture it is of. `what` the file is (`a LiME dump`), for the warning when nothing says.
 * @param arch the architecture if it is known
 * @param findKernel look in all of the memory; without it the architecture may be a guess that no warning names
 */
export async function unlabelledGuest(
  guest: Omit<GuestImage, "arch" | "vcpus">,
  what: string,
  arch?: Architecture,
  findKernel: KernelSearch = true,
): Promise<GuestImage> {
  // the architecture has to be known now
  const found = await withVmcoreInfo({ ...guest, vcpus: [], arch: arch ?? X86_64 }, findKernel !== false);
  const { vmcoreInfo } = found.facts;
  const said = vmcoreInfo === undefined ? undefined : architectureOfVmcoreInfo(vmcoreInfo.text);
  if (arch !== undefined) {
    if (said === undefined || said.name === arch.name) return found;
    const warning = `the kernel in memory says that it is of ${said.name}, not ${arch.name}`;
    return { ...found, warnings: [...found.warnings, warning] };
  }
  if (said !== undefined) return { ...found, arch: said };
  if (findKernel === false) return { ...found, facts: { ...found.facts, archIsGuess: true } };
  const guess = `${what} doesn't say what CPU it is of: taken for x86_64`;
  return { ...found, warnings: [...found.warnings, guess] };
}
