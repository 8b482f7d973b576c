import { AbsentError, FormatError } from "../findings/errors.js";
import { Btf } from "./btf.js";
import { BtfTypes } from "./btf-types.js";
import type { Kernel } from "./kernel.js";
import { listEntries } from "./lists.js";
import type { KernelObject } from "./object.js";
import { readUpTo } from "./read.js";
import { damaged, LINUX_RULES } from "./rules.js";
import type { KernelType, KernelTypes } from "./types.js";

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

/** A type of a module. */
export interface ModuleType {
  readonly module: string;
  readonly type: KernelType;
}

/**
 * A structure that the kernel itself lacks, in the types of its modules; undefined when none has it. Types of a module that
 * can't be read are noted and left out.
 *
 * @throws AbsentError when symbols or types are missing.
 */
export async function structOfModules(kernel: Kernel, name: string): Promise<ModuleType | undefined> {
  const { types } = kernel;
  const head = kernel.symbol("btf_modules");
  if (!(types instanceof BtfTypes) || head === undefined) return undefined;
  for await (const address of listEntries(kernel, head, "btf_module", "list")) {
    const found = await noted(kernel, async () => {
      const btf = await btfOf(kernel, address);
      const module = btf.text("name");
      const own = await decode(kernel, types.btf, btf, module);
      const type = own.find("struct", name) ?? own.find("union", name) ?? own.find("typedef", name);
      return type === undefined ? undefined : { module, type };
    });
    if (found !== undefined) return found;
  }
  return undefined;
}

async function btfOf(kernel: Kernel, address: bigint): Promise<KernelObject> {
  return (await kernel.load("btf_module", address)).follow("btf");
}

/** The struct btf of an entry, if it is of that module. */
async function nameOf(kernel: Kernel, address: bigint, module: string): Promise<KernelObject | undefined> {
  return noted(kernel, async () => {
    const btf = await btfOf(kernel, address);
    return btf.text("name") === module ? btf : undefined;
  });
}

async function noted<T>(kernel: Kernel, read: () => Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await read();
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
