import { latin1, readU64, viewOf } from "../../binary/layout.js";
import { ElfFile } from "../../elf/file.js";
import {
  EM_386,
  ehdr32,
  ehdr64,
  ELFCLASS64,
  ELFDATA2MSB,
  elfIdent,
  elfLayouts,
  ET_CORE,
  PT_LOAD,
} from "../../elf/layout.js";
import type { ElfNote } from "../../elf/notes.js";
import { rules } from "../../findings/finding.js";
import type { Report } from "../../findings/report.js";
import { type Architecture, ARCHITECTURES, type GuestImage, I386 } from "../../guest/image.js";
import type { Inspection, InputFormat } from "../../guest/input-format.js";
import { withVmcoreInfo } from "../../guest/kernel/vmcoreinfo.js";
import { type ByteSource, needSource } from "../../io/byte-source.js";
import { FormatError } from "../../io/errors.js";
import { type GuestSummary, summarizeGuest } from "../guest-summary.js";
import { decodeVcpus, erasedOf, erasedWarning } from "../notes.js";
import { type MemorySegment, segmentMemory } from "../segments.js";

const SPEC = "gABI, Program Header; Linux kdump, ELF vmcore";
/** Where a process on x86_64 has its legacy system call page. */
const VSYSCALL = 0xffff_ffff_ff60_0000n;
const KERNEL_HALF = 2n ** 63n;

export const ELF_VMCORE_RULES = rules({
  truncated: {
    code: "vmcore/elf/truncated",
    severity: "error",
    spec: SPEC,
    explanation:
      "The file ends before the contents that its program headers announce: that memory is absent.",
  },
  notes: {
    code: "vmcore/elf/notes",
    severity: "error",
    spec: "gABI, Note Section",
    explanation: "The notes are damaged or cut: registers and VMCOREINFO may be missing.",
  },
  erased: {
    code: "vmcore/elf/erased",
    severity: "note",
    spec: "makedumpfile -x, --config",
    explanation:
      "makedumpfile erased data that its configuration named: those bytes are the eraser's, not the guest's. The message is its own account: what, and how many bytes.",
  },
  header: {
    code: "vmcore/elf/header",
    severity: "error",
    spec: SPEC,
    explanation: "The ELF header or the program headers are damaged: nothing else can be found.",
  },
  empty: {
    code: "vmcore/elf/empty",
    severity: "error",
    spec: SPEC,
    explanation: "No program header describes physical memory.",
  },
  address: {
    code: "vmcore/elf/address",
    severity: "error",
    spec: SPEC,
    explanation: "A program header names physical memory beyond any address, or more contents than memory.",
  },
  leftOut: {
    code: "vmcore/elf/left-out",
    severity: "note",
    spec: SPEC,
    explanation:
      "A program header has less contents than memory (p_filesz below p_memsz): the program that wrote the dump left pages out, or knew them to be zero; the dump can't tell which.",
  },
  headerSize: {
    code: "vmcore/elf/header-size",
    severity: "note",
    spec: "gABI, ELF Header",
    explanation:
      "e_ehsize is not the size of an ELF header. QEMU from 7.1 on writes 8 there; makedumpfile refuses such a file, others don't look.",
  },
});

/** Architecture of an ELF header. A 64-bit file of machine 3 is QEMU's of a guest that never left 32-bit mode. */
function architectureOf(elf: ElfFile): Architecture {
  const machine = elf.header.e_machine;
  const known =
    machine === EM_386
      ? I386
      : ARCHITECTURES.find((arch) => arch.machine === machine && arch.order === elf.order);
  if (known !== undefined) return known;
  throw elf.error(
    "vmcore/elf/machine",
    `machine ${machine} is none that vmcores are read of`,
    18,
    "ELF header",
  );
}

/** A run of physical memory as a program header has it. */
export interface VmcoreSegment extends MemorySegment {
  readonly index: number;
  readonly virtual: bigint;
}

/** PT_LOADs that describe physical memory. */
function segmentsOf(elf: ElfFile): VmcoreSegment[] {
  const { segments } = elf;
  const found: VmcoreSegment[] = [];
  for (let index = 0; index < segments.length; index += 1) {
    if (segments.type[index] !== PT_LOAD) continue;
    const physical = segments.paddr[index] ?? 0n;
    const fileSize = segments.filesz[index] ?? 0;
    const memorySize = Math.max(segments.memsz[index] ?? 0, fileSize);
    const offset = segments.offset[index] ?? 0;
    // -1: no physical address, as /proc/kcore has it
    if (physical + BigInt(memorySize) > BigInt(Number.MAX_SAFE_INTEGER)) continue;
    const there = Math.max(0, Math.min(fileSize, elf.source.size - offset));
    const virtual = segments.vaddr[index] ?? 0n;
    found.push({ index, physical: Number(physical), virtual, offset, fileSize, there, memorySize });
  }
  return found;
}

interface OpenVmcore {
  readonly elf: ElfFile;
  readonly segments: readonly VmcoreSegment[];
  readonly notes: readonly ElfNote[];
  readonly warnings: readonly string[];
}

async function openVmcore(input: ByteSource): Promise<OpenVmcore> {
  const elf = await ElfFile.open(input);
  const segments = segmentsOf(elf);
  const warnings: string[] = [];
  let notes: readonly ElfNote[] = [];
  try {
    notes = await elf.notes();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    warnings.push(error.message);
  }
  for (const line of erasedOf(notes)) warnings.push(erasedWarning(line));
  const lost = segments.reduce((sum, { fileSize, there }) => sum + fileSize - there, 0);
  if (lost > 0) warnings.push(`the file ends before ${lost} bytes of memory that its headers announce`);
  return { elf, segments, notes, warnings };
}

function vmcoreInfoOf(notes: readonly ElfNote[]): string | undefined {
  const note = notes.find(({ name }) => name === "VMCOREINFO");
  return note === undefined ? undefined : latin1(note.descriptor).replace(/\0+$/, "");
}

function originOf(notes: readonly ElfNote[]): string {
  if (notes.some(({ name }) => name === "QEMU")) return "ELF vmcore with QEMU's processor notes";
  return notes.some(({ name }) => name === "VMCOREINFO") ? "ELF vmcore of a Linux kernel" : "ELF vmcore";
}

async function openElfGuest(input: ByteSource): Promise<GuestImage> {
  return guestOf(await openVmcore(input));
}

function guestOf({ elf, segments, notes, warnings }: OpenVmcore): Promise<GuestImage> {
  if (segments.length === 0)
    throw elf.error(ELF_VMCORE_RULES.empty.code, "no program header describes physical memory", 0);
  const arch = architectureOf(elf);
  const memory = segmentMemory(elf.source, segments);
  const text = vmcoreInfoOf(notes);
  const erased = erasedOf(notes);
  return withVmcoreInfo({
    arch,
    memory,
    vcpus: decodeVcpus(notes, arch),
    facts: {
      origin: originOf(notes),
      source: elf.name,
      ...(text === undefined ? {} : { vmcoreInfo: { text } }),
      ...(erased.length === 0 ? {} : { erased }),
      more: { segments: segments.length, elfClass: elf.bits },
    },
    warnings,
  });
}

/** What `inspect` says of an ELF vmcore. */
export interface ElfVmcoreInspection extends Inspection, GuestSummary {
  readonly kind: "elf-vmcore";
  readonly bits: 32 | 64;
  readonly order: "little" | "big";
  /** Decimal numbers; virtual addresses as 0x texts. */
  readonly segments: readonly (Omit<VmcoreSegment, "virtual"> & { readonly virtual: string })[];
  readonly notes: readonly { readonly name: string; readonly type: number; readonly size: number }[];
}

async function inspectElf(input: ByteSource): Promise<ElfVmcoreInspection> {
  const opened = await openVmcore(input);
  const { elf, segments, notes } = opened;
  return {
    schemaVersion: 1,
    kind: "elf-vmcore",
    source: input.name,
    ...(await summarizeGuest(await guestOf(opened))),
    bits: elf.bits,
    order: elf.order,
    segments: segments.map((segment) => ({ ...segment, virtual: `0x${segment.virtual.toString(16)}` })),
    notes: notes.map(({ name, type, descriptor }) => ({ name, type, size: descriptor.length })),
  };
}

async function verifyElf(input: ByteSource, report: Report): Promise<void> {
  let elf: ElfFile;
  try {
    elf = await ElfFile.open(input);
    architectureOf(elf);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    report.add(ELF_VMCORE_RULES.header, { offset: error.place.offset ?? 0 }, error.message);
    return;
  }
  const { ehdr, phdr } = elfLayouts(elf.bits);
  if (elf.header.e_ehsize !== ehdr.size)
    report.add(
      ELF_VMCORE_RULES.headerSize,
      { offset: ehdr.offsetOf("e_ehsize") },
      `e_ehsize is ${elf.header.e_ehsize}, not ${ehdr.size}`,
    );
  try {
    const notes = await elf.notes();
    for (const line of erasedOf(notes))
      report.add(ELF_VMCORE_RULES.erased, { offset: notes[0]?.offset ?? 0 }, line);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    report.add(ELF_VMCORE_RULES.notes, { offset: error.place.offset ?? 0 }, error.message);
  }
  const segments = segmentsOf(elf);
  const at = (index: number): { offset: number } => ({ offset: elf.header.e_phoff + index * phdr.size });
  const usable = new Set(segments.map(({ index }) => index));
  for (let i = 0; i < elf.segments.length; i += 1) {
    if (elf.segments.type[i] !== PT_LOAD) continue;
    const [fileSize = 0, memorySize = 0] = [elf.segments.filesz[i], elf.segments.memsz[i]];
    if (!usable.has(i) || fileSize > memorySize)
      report.add(
        ELF_VMCORE_RULES.address,
        at(i),
        `program header ${i}: 0x${fileSize.toString(16)} bytes of contents for 0x${memorySize.toString(16)} at 0x${(elf.segments.paddr[i] ?? 0n).toString(16)}`,
      );
  }
  if (segments.length === 0) report.add(ELF_VMCORE_RULES.empty, { offset: 0 }, "no physical memory");
  for (const { index, physical, fileSize, there, memorySize } of segments) {
    const where = `memory at 0x${physical.toString(16)}`;
    if (there < fileSize)
      report.add(
        ELF_VMCORE_RULES.truncated,
        at(index),
        `${where}: the file has 0x${there.toString(16)} of 0x${fileSize.toString(16)} bytes`,
      );
    if (fileSize < memorySize)
      report.add(
        ELF_VMCORE_RULES.leftOut,
        at(index),
        `${where}: contents for 0x${fileSize.toString(16)} of 0x${memorySize.toString(16)} bytes`,
      );
  }
}

/**
 * Whether an ELF core describes a machine's memory, not a process's: a program header has a physical address,
 * or a virtual one that no process has.
 */
export function isVmcore(head: Uint8Array): boolean {
  if (!ElfFile.matches(head) || head.length < ehdr64.size) return false;
  const ident = elfIdent.decode(head, "little");
  const bits = ident.class === ELFCLASS64 ? 64 : 32;
  const order = ident.data === ELFDATA2MSB ? "big" : "little";
  const view = viewOf(head);
  const little = order === "little";
  const ehdr = bits === 64 ? ehdr64 : ehdr32;
  if (view.getUint16(ehdr.offsetOf("e_type"), little) !== ET_CORE) return false;
  const { phdr } = elfLayouts(bits);
  const count = view.getUint16(ehdr.offsetOf("e_phnum"), little);
  const phoffAt = ehdr.offsetOf("e_phoff");
  if (bits === 64 && view.getUint32(phoffAt + (little ? 4 : 0), little) !== 0) return false;
  const phoff = bits === 64 ? readU64(view, phoffAt, little) : view.getUint32(phoffAt, little);
  const word = (at: number): bigint =>
    bits === 64 ? view.getBigUint64(at, little) : BigInt(view.getUint32(at, little));
  for (let i = 0; i < count && phoff + (i + 1) * phdr.size <= head.length; i += 1) {
    const at = phoff + i * phdr.size;
    if (view.getUint32(at, little) !== PT_LOAD) continue;
    const virtual = word(at + phdr.offsetOf("p_vaddr"));
    if (word(at + phdr.offsetOf("p_paddr")) !== 0n || virtual === 0n) return true;
    if (virtual >= KERNEL_HALF && virtual < VSYSCALL) return true;
  }
  return false;
}

/** ELF vmcores of QEMU's dump-guest-memory, of the kernel (/proc/vmcore) and of this project. */
export const elfVmcore: InputFormat = {
  id: "elf-vmcore",
  title: "ELF vmcore",
  needsRandomAccess: true,
  matches: isVmcore,
  verify: async (input, report) => verifyElf(needSource(input, "a vmcore"), report),
  inspect: async (input) => inspectElf(needSource(input, "a vmcore")),
  openGuest: openElfGuest,
};
