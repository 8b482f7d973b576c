import type { GuestImage } from "../../guest/image.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import { parseVmcoreInfo } from "../../guest/kernel/vmcoreinfo.js";
import { memoryTotals } from "../../guest/memory.js";
import { AbsentError } from "../../findings/errors.js";
import { AddressSpace } from "../address-space.js";
import { CachedMemory } from "../../guest/cached-memory.js";
import { kernelPaging } from "../kernel-tables.js";
import { LINUX_LOG_RULES } from "./rules.js";
import type { LogSource } from "./source.js";

/**
 * What reading a guest's kernel log needs, from its VMCOREINFO and page tables alone: no symbols, no types.
 * @throws AbsentError where the guest has no VMCOREINFO or its architecture's page tables aren't known
 */
export async function logSourceOf(guest: GuestImage): Promise<LogSource> {
  const text = (await withVmcoreInfo(guest)).facts.vmcoreInfo?.text;
  if (text === undefined) {
    throw new AbsentError(
      LINUX_LOG_RULES.unknown,
      "no VMCOREINFO was found, which says where the kernel log is",
      {
        source: guest.facts.source,
      },
    );
  }
  const memory = new CachedMemory(guest.memory);
  const { kernel } = kernelPaging(guest, memory, parseVmcoreInfo(text));
  const { present, zero } = memoryTotals(guest.memory);
  return {
    vmcoreInfo: text,
    memory: new AddressSpace(memory, kernel),
    bits: guest.arch.bits,
    order: guest.arch.order,
    memorySize: present + zero,
  };
}
