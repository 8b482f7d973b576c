import { FormatError, UsageError } from "../../findings/errors.js";
import type { GuestImage, VmcoreInfo } from "../image.js";
import type { VmcoreInfoChoice } from "../options.js";
import { asSought, MISFIT } from "./brought-vmcoreinfo.js";
import { fitsMemory } from "./kernel-layout.js";
import { findVmcoreInfo, isVmcoreInfo } from "./vmcoreinfo.js";
import { withKernelLayout } from "./with-kernel-layout.js";

/**
 * The guest with the VMCOREINFO that the caller chose; without a choice the guest as it is. A warning says when it
 * doesn't fit the kernel in memory, or when a search finds none.
 * @throws UsageError when the text given is no VMCOREINFO
 */
export async function withChosenVmcoreInfo(
  opened: GuestImage,
  choice: VmcoreInfoChoice | undefined,
): Promise<GuestImage> {
  if (choice === undefined) return opened;
  // what the input brought doesn't matter any more
  const guest = {
    ...asSought(opened),
    warnings: opened.warnings.filter((text) => !text.startsWith(MISFIT)),
  };
  const { vmcoreInfo: _, kernelLayout: _layout, ...others } = guest.facts;
  const facts = { ...others, vmcoreInfoIsChosen: true } as const;
  if (choice === "none") return { ...guest, facts };
  const given: VmcoreInfo | undefined = choice === "search" ? await search(guest) : textOf(choice.text);
  if (given === undefined)
    return { ...guest, facts, warnings: [...guest.warnings, "no VMCOREINFO was found in memory"] };
  const which = choice === "search" ? "the VMCOREINFO found in memory" : "the VMCOREINFO that was given";
  const isMisfit = (await whetherFits(guest, given)) === false;
  return withKernelLayout({
    ...guest,
    facts: { ...facts, vmcoreInfo: given },
    warnings: isMisfit ? [...guest.warnings, `${which} doesn't fit the kernel in memory`] : guest.warnings,
  });
}

async function search({ memory, arch, vcpus }: GuestImage): Promise<VmcoreInfo | undefined> {
  try {
    return await findVmcoreInfo(memory, arch, vcpus);
  } catch (error) {
    // a damaged page: it is reported where it is read
    if (!(error instanceof FormatError)) throw error;
    return undefined;
  }
}

function textOf(given: string): VmcoreInfo {
  const text = given.replaceAll("\r\n", "\n");
  if (isVmcoreInfo(text)) return { text };
  throw new UsageError("what was given as VMCOREINFO is none: lines KEY=VALUE, from OSRELEASE= on");
}

async function whetherFits({ memory, arch }: GuestImage, { text }: VmcoreInfo): Promise<boolean | undefined> {
  try {
    return await fitsMemory(memory, text, arch);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return undefined;
  }
}
