import type { Architecture } from "../arch/architecture.js";
import { FormatError } from "../../findings/errors.js";
import type { Facts, GuestImage, VmcoreInfo } from "../image.js";
import type { PhysicalMemory } from "../memory.js";
import type { KernelSearch } from "../options.js";
import type { Vcpu } from "../vcpu.js";
import { fitsMemory, hasTablesRead } from "./kernel-layout.js";
import { runsAnotherKernel } from "./running-kernel.js";
import { withKernelLayout } from "./with-kernel-layout.js";
import { findVmcoreInfo } from "./vmcoreinfo.js";
import { hexValue, parseVmcoreInfo } from "./vmcoreinfo-text.js";

/** Link address of an x86_64 kernel's `_stext`, unless it was built for another place. */
const USUAL_TEXT = 0xffff_ffff_8100_0000n;

/** How the message of a fault begins. */
export const MISFIT = "the VMCOREINFO that the input brings doesn't fit the kernel in memory";

/** What is wrong with the VMCOREINFO that an input brings. */
export interface VmcoreInfoFault {
  /** One sentence, without a period. */
  readonly message: string;
  /** The copy in memory that fits; undefined: none was found. */
  readonly better: VmcoreInfo | undefined;
}

/** The guest that a VMCOREINFO is held against. */
export interface MemoryOfKernel {
  readonly memory: PhysicalMemory;
  readonly arch: Architecture;
  readonly vcpus: readonly Vcpu[];
}

/**
 * Holds the VMCOREINFO that an input brings against the kernel in memory: its page tables, its text, its own copy.
 * Undefined: nothing speaks against it.
 * @param thorough whether a copy is worth a look at all of the memory; one that is known to be wrong always is
 * @throws FormatError damaged pages
 */
export async function faultOfVmcoreInfo(
  brought: VmcoreInfo,
  kernel: MemoryOfKernel,
  thorough: boolean,
): Promise<VmcoreInfoFault | undefined> {
  const { memory, arch, vcpus } = kernel;
  const doubt = await doubtOf(brought, kernel);
  if (doubt === undefined) return undefined;
  const found = await findVmcoreInfo(memory, arch, vcpus, thorough || doubt !== "unproven");
  return faultBy(found, brought, kernel);
}

type Doubt = "misfit" | "odd" | "unproven";

/**
 * What calls for a copy in memory to compare with. `odd`: it fits, but for its KERNELOFFSET. `unproven`: the page tables
 * that it leads to aren't in the memory.
 */
async function doubtOf({ text }: VmcoreInfo, { memory, arch }: MemoryOfKernel): Promise<Doubt | undefined> {
  const fits = await fitsMemory(memory, text, arch);
  if (fits === false) return "misfit";
  if (fits === true) return hasOddOffset(text, arch) ? "odd" : undefined;
  // only a copy that fits can say that it doesn't
  return hasTablesRead(arch) ? "unproven" : undefined;
}

/** What a copy in memory, or that there is none, says of the VMCOREINFO that an input brings. @throws FormatError */
async function faultBy(
  found: VmcoreInfo | undefined,
  brought: VmcoreInfo,
  { memory, arch }: MemoryOfKernel,
): Promise<VmcoreInfoFault | undefined> {
  if (found !== undefined && (await fitsMemory(memory, found.text, arch)) === true) {
    if (found.text.trimEnd() === brought.text.trimEnd()) return undefined;
    return { message: `${MISFIT}: the copy in memory at ${printAddress(found)} does`, better: found };
  }
  return (await fitsMemory(memory, brought.text, arch)) === false
    ? { message: `${MISFIT}, and none that fits was found there`, better: undefined }
    : undefined;
}

const printAddress = ({ gpa = 0 }: VmcoreInfo): string => `0x${gpa.toString(16)}`;

/** Whether an x86_64 kernel's KERNELOFFSET isn't what its text moved by, for all that is usual. */
function hasOddOffset(text: string, { name }: Architecture): boolean {
  const info = parseVmcoreInfo(text);
  const [stext, offset] = [hexValue(info.get("SYMBOL(_stext)")), hexValue(info.get("KERNELOFFSET"))];
  return name === "x86_64" && stext !== undefined && offset !== undefined && stext - offset !== USUAL_TEXT;
}

/** Facts with another VMCOREINFO: what the first one's kernel had is not known of it. */
function withOther(facts: Facts, vmcoreInfo: VmcoreInfo): Facts {
  const { kernelLayout: _, ...others } = facts;
  return { ...others, vmcoreInfo };
}

/**
 * The guest, with VMCOREINFO out of its memory, see findVmcoreInfo, if its input brought none or one that doesn't fit
 * the kernel in memory, and with the layout of its kernel. Damaged pages are left to those who read them.
 */
export async function withVmcoreInfo(guest: GuestImage, search: KernelSearch = true): Promise<GuestImage> {
  if (guest.facts.vmcoreInfoIsChosen === true) return guest;
  if (search === "later") return withKernelLayout(await withQuickVmcoreInfo(guest));
  return withKernelLayout(await withSoundVmcoreInfo(asSought(guest), search));
}

/** The guest as one that all was done for to find its kernel. */
export function asSought(guest: GuestImage): GuestImage {
  if (guest.isKernelUnsought === undefined) return guest;
  const { isKernelUnsought: _, ...sought } = guest;
  return sought;
}

/** The guest with what its vCPUs lead to; `isKernelUnsought` where a look at all of the memory may give another. */
async function withQuickVmcoreInfo(guest: GuestImage): Promise<GuestImage> {
  const { memory, arch, vcpus, facts } = guest;
  try {
    if (facts.vmcoreInfo !== undefined && (await doubtOf(facts.vmcoreInfo, guest)) === undefined)
      return guest;
    const found = await findVmcoreInfo(memory, arch, vcpus, false);
    if (found === undefined) {
      const unsought = await unlessAnotherRan(guest);
      return unsought.isKernelUnsought === true ? unsought : await withFoundVmcoreInfo(guest, undefined);
    }
    const isSure = (await fitsMemory(memory, found.text, arch)) === true;
    return isSure ? await withFoundVmcoreInfo(guest, found) : await withSoundVmcoreInfo(guest, true);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return guest;
  }
}

/**
 * The guest with the VMCOREINFO that was found in its memory, if its input brought none or one that this proves wrong.
 * @throws FormatError damaged pages
 */
export async function withFoundVmcoreInfo(
  guest: GuestImage,
  found: VmcoreInfo | undefined,
): Promise<GuestImage> {
  const { facts, warnings } = guest;
  if (facts.vmcoreInfo === undefined)
    return found === undefined ? guest : { ...guest, facts: { ...facts, vmcoreInfo: found } };
  const fault = await faultBy(found, facts.vmcoreInfo, guest);
  if (fault === undefined) return guest;
  const { message, better } = fault;
  return {
    ...guest,
    facts: better === undefined ? facts : withOther(facts, better),
    warnings: [...warnings, better === undefined ? message : `${message} and is taken`],
  };
}

/**
 * The guest as one whose VMCOREINFO is to be looked for in all of its memory, unless its vCPUs show that another kernel
 * ran.
 * @throws FormatError damaged pages
 */
async function unlessAnotherRan(guest: GuestImage): Promise<GuestImage> {
  const { memory, arch, vcpus } = guest;
  const ranAnother = arch.name === "x86_64" && (await runsAnotherKernel(memory, vcpus));
  return ranAnother ? guest : { ...guest, isKernelUnsought: true };
}

async function withSoundVmcoreInfo(guest: GuestImage, thorough: boolean): Promise<GuestImage> {
  const { memory, arch, vcpus, facts } = guest;
  try {
    const doubt = facts.vmcoreInfo && (await doubtOf(facts.vmcoreInfo, guest));
    if (facts.vmcoreInfo !== undefined && doubt === undefined) return guest;
    const isWorthAll = thorough || (doubt !== undefined && doubt !== "unproven");
    return await withFoundVmcoreInfo(guest, await findVmcoreInfo(memory, arch, vcpus, isWorthAll));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return guest;
  }
}
