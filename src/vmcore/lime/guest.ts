import { AARCH64 } from "../../guest/arch/arm.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import type { GuestImage } from "../../guest/image.js";
import { I386, X86_64 } from "../../guest/arch/x86.js";
import { withVmcoreInfo } from "../../guest/kernel/vmcoreinfo.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { segmentMemory } from "../segments.js";
import { type LimeRanges, readRanges } from "./read.js";

/** The processor that a kernel's VMCOREINFO is of; LiME itself doesn't tell. */
function architectureOf(vmcoreInfo: string): Architecture {
  if (/^NUMBER\(kimage_voffset\)=/m.test(vmcoreInfo)) return AARCH64;
  return /^SYMBOL\(_stext\)=[0-9a-f]{8}$/m.test(vmcoreInfo) ? I386 : X86_64;
}

/** Opens the guest of a LiME dump. @throws FormatError for an invalid header, unless `partial` */
export async function openLimeGuest(
  input: ByteSource,
  { partial = false }: Pick<OpenOptions, "partial">,
): Promise<GuestImage> {
  return guestOf(input, await readRanges(input), partial);
}

/** The model of a dump whose ranges are read. */
export async function guestOf(
  input: ByteSource,
  { ranges, lost }: LimeRanges,
  partial: boolean,
): Promise<GuestImage> {
  if (lost !== undefined && !partial) throw lost;
  const guest = await withVmcoreInfo({
    arch: X86_64,
    memory: segmentMemory(input, ranges),
    vcpus: [],
    facts: { origin: "LiME memory dump", source: input.name, more: { ranges: ranges.length } },
    warnings: lost === undefined ? [] : [lost.message],
  });
  const { vmcoreInfo } = guest.facts;
  if (vmcoreInfo !== undefined) return { ...guest, arch: architectureOf(vmcoreInfo.text) };
  const guess = "a LiME dump doesn't tell what processor it is of: taken for x86_64";
  return { ...guest, warnings: [...guest.warnings, guess] };
}
