import type { Architecture } from "../../../guest/arch/architecture.js";
import type { VmcoreInfo } from "../../../guest/image.js";
import {
  fitsMemory,
  type KernelLayout,
  kernelLayout,
  x86DirectMemory,
} from "../../../guest/kernel/kernel-layout.js";
import { findVmcoreInfo } from "../../../guest/kernel/vmcoreinfo.js";
import type { PhysicalMemory } from "../../../guest/memory.js";
import type { Mapping } from "../../../guest/paging/walk.js";
import { FOUR_GIB } from "./address-space.js";
import { e820Maps, findRsdp } from "./firmware.js";

/** RAM where it is taken to be: disjoint ranges of guest-physical addresses, ascending. */
export type Layout = readonly { readonly start: number; readonly end: number }[];

/** How a guest is taken to be. */
export interface Claim {
  readonly arch: Architecture;
  /** It has a PC's firmware. */
  readonly isPc: boolean;
  /** RAM that the machine was built with. */
  readonly layout: Layout;
  /** Memory of devices: the kernel may use it or not. */
  readonly plugged: Layout;
}

/** What the guest's memory says of the addresses it was laid out at. */
export interface Proof {
  /** What agrees, one phrase each; empty: nothing proves the addresses. */
  readonly agrees: readonly string[];
  /** What was found that doesn't agree, or proves too little. */
  readonly found: readonly string[];
  /** The kernel's, where its page tables and text agree. */
  readonly vmcoreInfo: VmcoreInfo | undefined;
  readonly kernelLayout: KernelLayout | undefined;
}

const MIB = 1 << 20;
/** Firmware's tables are this near to the end of low memory. */
const NEAR = 2 * MIB;
/** Memory beyond the last RAM in which the kernel's direct map must map nothing. */
const BEYOND = 2 ** 40;
/** Firmware keeps at most this much of RAM from the kernel. */
const MOST_KEPT = 256 * MIB;

/**
 * Looks in guest memory for what shows that it is laid out right: a kernel whose VMCOREINFO, page tables and text agree
 * and whose direct map has just this RAM, a memory map in its boot_params that has, or firmware's tables where they lead.
 */
export async function proofOf(
  memory: PhysicalMemory,
  { arch, isPc, layout, plugged }: Claim,
): Promise<Proof> {
  const agrees: string[] = [];
  const found: string[] = [];
  const vmcoreInfo = await findVmcoreInfo(memory, arch);
  const fits = vmcoreInfo !== undefined && (await fitsMemory(memory, vmcoreInfo.text, arch)) === true;
  const release = /^OSRELEASE=(.*)$/m.exec(vmcoreInfo?.text ?? "")?.[1] ?? "?";
  if (vmcoreInfo !== undefined && !fits)
    found.push(`VMCOREINFO of Linux ${release}, whose page tables and text don't agree with these addresses`);
  const layoutOfKernel = fits ? await kernelLayout(memory, vmcoreInfo.text, arch) : undefined;
  if (fits) {
    const { image = [], directMap } = layoutOfKernel ?? {};
    const name = `VMCOREINFO, page tables and text of Linux ${release} agree`;
    if (directMap === undefined) found.push(`${name}, but it has no direct map of all memory`);
    else if (arch.name === "x86_64") {
      const end = (layout.at(-1)?.end ?? 0) + BEYOND;
      const mapped = await x86DirectMemory(memory, vmcoreInfo.text, directMap, end);
      const differs = mismatch(mapped, layout, plugged);
      if (differs === undefined) agrees.push(`${name}; its direct map has this RAM`);
      else found.push(`${name}, but its direct map ${differs}`);
    } else agrees.push(name);
    if (isPc && agrees.length === 0) await byE820(memory, image.map(rangeOf), layout, agrees, found);
  }
  if (isPc && agrees.length === 0) await byAcpi(memory, layout, agrees, found);
  // last, for it is all read through
  if (isPc && agrees.length === 0 && found.length === 0) await byE820(memory, layout, layout, agrees, found);
  return { agrees, found, vmcoreInfo: fits ? vmcoreInfo : undefined, kernelLayout: layoutOfKernel };
}

const rangeOf = ({ gpa, length }: Mapping): { start: number; end: number } => ({
  start: gpa,
  end: gpa + length,
});

/** Why the RAM that the guest knows of can't be this; undefined: it can. */
function mismatch(known: Layout, layout: Layout, plugged: Layout): string | undefined {
  const stranger = known.find(
    ({ start, end }) => ![...layout, ...plugged].some((range) => range.start <= start && end <= range.end),
  );
  if (stranger !== undefined) return `has ${text(stranger)}, which isn't in ${layout.map(text).join(", ")}`;
  for (const range of layout) {
    const inside = known.filter(({ start }) => range.start <= start && start < range.end);
    const covered = inside.reduce((sum, { start, end }) => sum + end - start, 0);
    const last = inside.reduce((end, one) => Math.max(end, one.end), 0);
    const size = range.end - range.start;
    // firmware keeps some of low memory, of high memory none
    const isWhole = range.start >= FOUR_GIB ? last === range.end : true;
    if (!isWhole || size - covered > Math.min(MOST_KEPT, size / 2))
      return `has only ${inside.length === 0 ? "nothing" : inside.map(text).join(", ")} of ${text(range)}`;
  }
  return undefined;
}

const text = ({ start, end }: { readonly start: number; readonly end: number }): string =>
  `0x${start.toString(16)}-0x${end.toString(16)}`;

async function byE820(
  memory: PhysicalMemory,
  where: Layout,
  layout: Layout,
  agrees: string[],
  found: string[],
): Promise<void> {
  let differs: string | undefined;
  for await (const { at, map } of e820Maps(memory, where)) {
    const why = mismatch(
      map.filter(({ isRam }) => isRam),
      layout,
      [],
    );
    const name = `the memory map in boot_params at 0x${at.toString(16)}`;
    if (why === undefined) {
      agrees.push(`${name} has this RAM`);
      return;
    }
    differs ??= `${name} ${why}`;
  }
  if (differs !== undefined) found.push(differs);
}

async function byAcpi(
  memory: PhysicalMemory,
  layout: Layout,
  agrees: string[],
  found: string[],
): Promise<void> {
  const rsdp = await findRsdp(memory);
  if (rsdp === undefined) return;
  const last = rsdp.tables.reduce((most, { end }) => Math.max(most, end), 0);
  const range = layout.find(({ start, end }) => start < last && last <= end);
  const name = `ACPI's RSDP at 0x${rsdp.at.toString(16)} and ${rsdp.tables.length} tables up to 0x${last.toString(16)}`;
  if (range !== undefined && range.start < FOUR_GIB && range.end - last <= NEAR)
    agrees.push(`${name}, the end of RAM below 4 GiB`);
  else found.push(`${name}, which isn't the end of RAM below 4 GiB`);
}
