import { ElfFile } from "../../elf/file.js";
import { elfLayouts, PT_LOAD } from "../../elf/layout.js";
import type { ElfNote } from "../../elf/notes.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import { FormatError } from "../../findings/errors.js";
import type { ByteSource } from "../../io/byte-source.js";
import { decodeVcpus, erasedOf } from "../notes.js";
import { faultOfVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import { beyondAddresses, describeBeyond, segmentMemory } from "../segments.js";
import { vmcoreInfoOf } from "./guest.js";
import { contradictions, describeContradiction } from "./overlaps.js";
import {
  architectureOf,
  endOfContents,
  lackPhysical,
  NO_PHYSICAL,
  reportRescue,
  requireCore,
  segmentsOf,
} from "./read.js";
import { rescueElf } from "./rescue.js";
import { ELF_VMCORE_RULES } from "./rules.js";
import { shiftOf, shiftText } from "./shift.js";

/** Checks headers, notes and segments of an ELF vmcore. */
export async function verifyElf(input: ByteSource, diagnostics: Diagnostics): Promise<void> {
  const rescued = await rescueElf(input);
  reportRescue(rescued, diagnostics);
  let elf: ElfFile;
  try {
    elf = await ElfFile.open(input);
    requireCore(elf);
    architectureOf(elf);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    diagnostics.report(ELF_VMCORE_RULES.header, { offset: error.place.offset ?? 0 }, error.message);
    return;
  }
  const { ehdr, phdr } = elfLayouts(elf.bits);
  if (elf.header.e_ehsize !== ehdr.size)
    diagnostics.report(
      ELF_VMCORE_RULES.headerSize,
      { offset: ehdr.offsetOf("e_ehsize") },
      `e_ehsize is ${elf.header.e_ehsize}, not ${ehdr.size}`,
    );
  let notes: readonly ElfNote[] = [];
  let info: string | undefined;
  try {
    notes = await elf.notes();
    info = vmcoreInfoOf(notes);
    for (const line of erasedOf(notes))
      diagnostics.report(ELF_VMCORE_RULES.erased, { offset: notes[0]?.offset ?? 0 }, line);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    diagnostics.report(ELF_VMCORE_RULES.notes, { offset: error.place.offset ?? 0 }, error.message);
  }
  const segments = segmentsOf(elf);
  const at = (index: number): { offset: number } => ({ offset: elf.header.e_phoff + index * phdr.size });
  const usable = new Set(segments.map(({ index }) => index));
  for (let i = 0; i < elf.segments.length; i += 1) {
    if (elf.segments.type[i] !== PT_LOAD) continue;
    const [fileSize = 0, memorySize = 0] = [elf.segments.filesz[i], elf.segments.memsz[i]];
    if (elf.segments.paddr[i] === NO_PHYSICAL) continue;
    if (!usable.has(i) || fileSize > memorySize)
      diagnostics.report(
        ELF_VMCORE_RULES.address,
        at(i),
        `program header ${i}: 0x${fileSize.toString(16)} bytes of contents for 0x${memorySize.toString(16)} at 0x${(elf.segments.paddr[i] ?? 0n).toString(16)}`,
      );
  }
  const beyond = beyondAddresses(segments);
  if (beyond !== undefined)
    diagnostics.report(
      ELF_VMCORE_RULES.address,
      at(beyond.index),
      `program header ${beyond.index}: ${describeBeyond(beyond)}`,
    );
  if (segments.length === 0) diagnostics.report(ELF_VMCORE_RULES.empty, { offset: 0 }, "no physical memory");
  if (lackPhysical(segments))
    diagnostics.report(ELF_VMCORE_RULES.noPhysical, at(0), "its segments have virtual addresses only");
  for (const found of await contradictions(input, segments))
    diagnostics.report(ELF_VMCORE_RULES.overlap, at(found.segment.index), describeContradiction(found));
  const end = rescued?.contentsEnd ?? endOfContents(elf);
  const shift = await shiftOf(rescued?.elf ?? elf, end);
  if (shift !== 0) diagnostics.report(ELF_VMCORE_RULES.shifted, { offset: end }, shiftText(shift));
  const arch = architectureOf(elf);
  if (info !== undefined && beyond === undefined) {
    const kernel = { memory: segmentMemory(input, segments), arch, vcpus: decodeVcpus(notes, arch) };
    const fault = await faultOfVmcoreInfo({ text: info }, kernel, true);
    if (fault !== undefined) diagnostics.report(ELF_VMCORE_RULES.vmcoreInfo, at(0), fault.message);
  }
  for (const { index, physical, fileSize, there, memorySize } of segments) {
    const where = `memory at 0x${physical.toString(16)}`;
    if (there < fileSize)
      diagnostics.report(
        ELF_VMCORE_RULES.truncated,
        at(index),
        `${where}: the file has 0x${there.toString(16)} of 0x${fileSize.toString(16)} bytes`,
      );
    if (fileSize < memorySize)
      diagnostics.report(
        ELF_VMCORE_RULES.leftOut,
        at(index),
        `${where}: contents for 0x${fileSize.toString(16)} of 0x${memorySize.toString(16)} bytes`,
      );
  }
}
