import { AbsentError, FormatError } from "../findings/errors.js";
import { Btf } from "./btf.js";
import { BtfTypes } from "./btf-types.js";
import type { Kernel } from "./kernel.js";
import { listEntries } from "./lists.js";
import type { KernelObject } from "./object.js";
import { readUpTo } from "./read.js";
import { damaged, LINUX_RULES } from "./rules.js";
import type { KernelTypes } from "./types.js";

/** Bytes of one module's BTF. */
const MOST_BYTES = 16 << 20;

/**
 * The types of a loaded module, on top of the kernel's own; undefined when it brought none or the kernel's own types
 * are not from BTF.
 *
 * @throws AbsentError when symbols or types are missing, FormatError when the module's BTF is damaged.
 */
export async function moduleTypes(kernel: Kernel, module: string): Promise<KernelTypes | undefined> {
  const { types } = kernel;
  if (!(types instanceof BtfTypes)) return undefined;
  const head = kernel.needSymbol("btf_modules");
  for await (const address of listEntries(kernel, head, "btf_module", "list")) {
    const btf = await nameOf(kernel, address, module);
    if (btf !== undefined) return decode(kernel, types.btf, btf, module);
  }
  return undefined;
}

/** The struct btf of an entry, if it is of that module. */
async function nameOf(kernel: Kernel, address: bigint, module: string): Promise<KernelObject | undefined> {
  try {
    const entry = await kernel.load("btf_module", address);
    const btf = await entry.follow("btf");
    return btf.text("name") === module ? btf : undefined;
  } catch (error) {
    if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
    kernel.note(LINUX_RULES.noTypes, `the types of a module are left out: ${error.message}`);
    return undefined;
  }
}

async function decode(kernel: Kernel, base: Btf, btf: KernelObject, module: string): Promise<KernelTypes> {
  // types and strings of a module go on from the kernel's: otherwise they count from another block
  if (btf.number("start_id") !== base.endId || btf.number("start_str_off") !== base.stringEnd)
    throw damaged(LINUX_RULES.badBtf, `the types of module ${module} do not go on from the kernel's own`);
  const size = Math.min(btf.number("data_size"), MOST_BYTES);
  return new BtfTypes(
    new Btf(await readUpTo(kernel.space, btf.pointer("data"), size), base),
    8,
    `BTF of module ${module}`,
  );
}
