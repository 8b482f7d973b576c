import type { Btf } from "../btf.js";
import { BtfTypes } from "../btf-types.js";
import type { Kernel } from "../kernel.js";
import { absent, LINUX_RULES } from "../rules.js";

/**
 * The block of BTF that a kernel's types are from.
 *
 * @throws AbsentError `linux/types/absent` when it has none, or types from debug information only.
 */
export function kernelBtf(kernel: Kernel): Btf {
  const types = kernel.needTypes();
  if (types instanceof BtfTypes) return types.btf;
  throw absent(
    LINUX_RULES.noTypes,
    `the kernel's types are not from BTF but from ${types.origin}, which is a symbol file already`,
  );
}
