import { trimNuls } from "../../binary/text.js";
import { latin1 } from "../../binary/layout.js";
import type { ElfNote } from "../../elf/notes.js";
import type { GuestImage } from "../../guest/image.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import type { OpenOptions } from "../../guest/options.js";
import { rescueWarnings } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { decodeVcpus, erasedOf } from "../notes.js";
import { segmentMemory } from "../segments.js";
import { architectureOf, openVmcore, type OpenVmcore } from "./read.js";
import { ELF_VMCORE_RULES } from "./rules.js";
import { virtualBoxNotes } from "./virtualbox.js";

/** VMCOREINFO's text among notes. */
export function vmcoreInfoOf(notes: readonly ElfNote[]): string | undefined {
  const note = notes.find(({ name }) => name === "VMCOREINFO");
  return note === undefined ? undefined : trimNuls(latin1(note.descriptor));
}

function originOf(notes: readonly ElfNote[]): string {
  if (virtualBoxNotes(notes) !== undefined) return "VirtualBox core";
  if (notes.some(({ name }) => name === "QEMU")) return "ELF vmcore with QEMU's CPU notes";
  return notes.some(({ name }) => name === "VMCOREINFO") ? "ELF vmcore of a Linux kernel" : "ELF vmcore";
}

/** Opens the guest of an ELF vmcore. @throws FormatError */
export async function openElfGuest(input: ByteSource, options: OpenOptions = {}): Promise<GuestImage> {
  return guestOf(await openVmcore(input, options.partial), options);
}

/** The model of a vmcore whose headers are read. */
export function guestOf(
  { elf, segments, notes, warnings, rescued, rescue }: OpenVmcore,
  { findKernel = true }: OpenOptions = {},
): Promise<GuestImage> {
  if (segments.length === 0 && rescued === undefined)
    throw elf.error(ELF_VMCORE_RULES.empty, "no program header describes physical memory", 0);
  const arch = architectureOf(elf);
  const virtualBox = virtualBoxNotes(notes);
  // ranges without contents are devices', no memory
  const ram = virtualBox === undefined ? segments : segments.filter(({ fileSize }) => fileSize > 0);
  const memory = segmentMemory(elf.source, ram);
  const text = vmcoreInfoOf(notes);
  const erased = erasedOf(notes);
  const guest: GuestImage = {
    arch,
    memory,
    vcpus: virtualBox?.vcpus ?? decodeVcpus(notes, arch),
    facts: {
      origin: originOf(notes),
      source: elf.name,
      ...(virtualBox === undefined ? {} : { hypervisor: `VirtualBox ${virtualBox.version}` }),
      ...(rescued?.archIsGuess === true ? { archIsGuess: true as const } : {}),
      ...(text === undefined ? {} : { vmcoreInfo: { text } }),
      ...(erased.length === 0 ? {} : { erased }),
      more: { segments: segments.length, elfClass: elf.bits },
    },
    warnings: [...(rescue === undefined ? [] : rescueWarnings(rescue)), ...warnings],
    ...(rescue === undefined ? {} : { rescue }),
    ...(rescued === undefined || rescued.unplaced.length === 0 ? {} : { unplaced: rescued.unplaced }),
  };
  return withVmcoreInfo(guest, findKernel);
}
