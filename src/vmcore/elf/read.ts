import { ElfFile } from "../../elf/file.js";
import { ET_CORE, PT_LOAD } from "../../elf/layout.js";
import type { ElfNote } from "../../elf/notes.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import { FormatError } from "../../findings/errors.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import { architectureOfMachine } from "../../guest/arch/architectures.js";
import type { ByteSource } from "../../io/byte-source.js";
import { erasedOf, erasedWarning } from "../notes.js";
import type { MemorySegment } from "../segments.js";
import type { Rescue } from "../../guest/salvage.js";
import type { RescuedElf } from "./rescue.js";
import { shiftOf, shiftText } from "./shift.js";
import { contradictions, describeContradiction } from "./overlaps.js";
import { ELF_VMCORE_RULES } from "./rules.js";

/** The architecture of an ELF header. @throws FormatError for one that vmcores are not read of */
export function architectureOf(elf: ElfFile): Architecture {
  const machine = elf.header.e_machine;
  const known = architectureOfMachine(machine, elf.order);
  if (known !== undefined) return known;
  throw elf.error(ELF_VMCORE_RULES.machine, `unsupported e_machine ${machine}`, 18, "ELF header");
}

/** Refuses an ELF file that is no core: its header is damaged, since the rest of it is one's. @throws FormatError */
export function requireCore(elf: ElfFile): void {
  const type = elf.header.e_type;
  if (type !== ET_CORE)
    throw elf.error(
      ELF_VMCORE_RULES.header,
      `an ELF file of type ${type}, not a core (type 4)`,
      16,
      "ELF header",
    );
}

/** p_paddr of what is no physical memory: vmalloc's and modules' segments of /proc/kcore. */
export const NO_PHYSICAL = 0xffff_ffff_ffff_ffffn;

/** A run of physical memory as a program header has it. */
export interface VmcoreSegment extends MemorySegment {
  readonly index: number;
  readonly virtual: bigint;
}

/** PT_LOADs that describe physical memory. */
export function segmentsOf(elf: ElfFile): VmcoreSegment[] {
  const { segments } = elf;
  const found: VmcoreSegment[] = [];
  for (let index = 0; index < segments.length; index += 1) {
    if (segments.type[index] !== PT_LOAD) continue;
    const physical = segments.paddr[index] ?? 0n;
    const fileSize = segments.filesz[index] ?? 0;
    const memorySize = Math.max(segments.memsz[index] ?? 0, fileSize);
    const offset = segments.offset[index] ?? 0;
    if (physical === NO_PHYSICAL) continue;
    if (physical + BigInt(memorySize) > BigInt(Number.MAX_SAFE_INTEGER)) continue;
    const there = Math.max(0, Math.min(fileSize, elf.source.size - offset));
    const virtual = segments.vaddr[index] ?? 0n;
    found.push({ index, physical: Number(physical), virtual, offset, fileSize, there, memorySize });
  }
  return found;
}

/** Whether segments have only virtual addresses, as /proc/kcore of old kernels: one physical address for all of them. */
export function lackPhysical(segments: readonly VmcoreSegment[]): boolean {
  const [first] = segments;
  return (
    first !== undefined &&
    segments.length > 1 &&
    segments.every(({ physical }) => physical === 0) &&
    segments.some(({ virtual }) => virtual !== first.virtual)
  );
}

/** An ELF vmcore with its headers and notes read. */
export interface OpenVmcore {
  readonly elf: ElfFile;
  readonly segments: readonly VmcoreSegment[];
  readonly notes: readonly ElfNote[];
  readonly warnings: readonly string[];
  /** Where headers or notes were damaged: what was made of them. */
  readonly rescued?: RescuedElf;
  /** What is lost, and what may be others' memory. */
  readonly rescue?: Rescue;
}

/** Reports what was damaged of headers and notes that were made anew. */
export function reportRescue(rescued: RescuedElf | undefined, diagnostics: Diagnostics): void {
  for (const { start, what = "" } of rescued?.rescue.lost ?? [])
    diagnostics.report(ELF_VMCORE_RULES.table, { offset: start }, `damaged: ${what}`);
}

/**
 * Reads headers and notes; contents stay where they are. With `partial`, damaged ones are made anew from what agrees.
 * @throws FormatError
 */
export async function openVmcore(input: ByteSource, partial = false): Promise<OpenVmcore> {
  const rescued = partial ? await (await import("./rescue.js")).rescueElf(input) : undefined;
  const elf = rescued?.elf ?? (await ElfFile.open(input));
  requireCore(elf);
  const segments = segmentsOf(elf);
  if (lackPhysical(segments))
    throw elf.error(
      ELF_VMCORE_RULES.noPhysical,
      "its segments have virtual addresses only",
      elf.header.e_phoff,
    );
  const warnings = (await contradictions(input, segments)).map(describeContradiction);
  let notes: readonly ElfNote[] = [];
  try {
    notes = rescued?.notes ?? (await elf.notes());
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    warnings.push(error.message);
  }
  for (const line of erasedOf(notes)) warnings.push(erasedWarning(line));
  const lost = segments.reduce((sum, { fileSize, there }) => sum + fileSize - there, 0);
  if (lost > 0) warnings.push(`the file ends before ${lost} bytes of memory that its headers announce`);
  const shift = await shiftOf(elf, rescued?.contentsEnd ?? endOfContents(elf));
  const rescue = partial ? rescueOf(shift, segments, rescued) : undefined;
  if (shift !== 0 && rescue === undefined) warnings.push(`memory may be shifted: ${shiftText(shift)}`);
  return {
    elf,
    segments,
    notes,
    warnings,
    ...(rescued === undefined ? {} : { rescued }),
    ...(rescue === undefined ? {} : { rescue }),
  };
}

/** What is lost of a vmcore, and its memory as doubtful where contents may be shifted. */
function rescueOf(
  shift: number,
  segments: readonly VmcoreSegment[],
  rescued: RescuedElf | undefined,
): Rescue | undefined {
  const held = segments.filter(({ there }) => there > 0);
  if (shift === 0 || held.length === 0) return rescued?.rescue;
  const start = held.reduce((least, { physical }) => Math.min(least, physical), Number.POSITIVE_INFINITY);
  const end = held.reduce((most, { physical, there }) => Math.max(most, physical + there), 0);
  const why = `may be shifted: ${shiftText(shift)}`;
  return { lost: rescued?.rescue.lost ?? [], doubtful: [{ start, end, why }] };
}

/** Where the contents that program headers describe end. */
export function endOfContents({ segments }: ElfFile): number {
  let end = 0;
  for (let i = 0; i < segments.length; i += 1)
    end = Math.max(end, (segments.offset[i] ?? 0) + (segments.filesz[i] ?? 0));
  return end;
}
