import type { Architecture } from "../../guest/arch/architecture.js";
import type { VmcoreInfo } from "../../guest/image.js";
import { X86_64 } from "../../guest/arch/x86.js";
import type { KernelSearch, QemuOptions } from "../../guest/options.js";
import { fitsMemory } from "../../guest/kernel/kernel-layout.js";
import { findVmcoreInfo } from "../../guest/kernel/vmcoreinfo.js";
import type { MemoryRange, PhysicalMemory } from "../../guest/memory.js";
import type { Vcpu } from "../../guest/vcpu.js";
import { UsageError } from "../../findings/errors.js";
import { LostBytesError } from "../../io/lost-bytes.js";
import { type DomainMemory, type MachineMap, mapMachine } from "./machine/map.js";
import { ABSENT } from "./ram/absence.js";
import { MappedMemory, type Mapping } from "./ram/mapped-memory.js";
import { notePlace } from "./machine/node-order.js";
import type { RamReader } from "./ram/records.js";
import { vcpusOf } from "./devices/vcpus.js";
import type { QevmStream } from "./stream.js";

/** Memory and vCPUs of a stream that was read. */
export interface StreamGuest {
  readonly arch: Architecture;
  /** False: no vCPU's state is in the stream, so it is the usual architecture of such machines. */
  readonly isArchKnown: boolean;
  readonly vcpus: readonly Vcpu[];
  readonly map: MachineMap;
  readonly memory: PhysicalMemory;
  readonly vmcoreInfo: VmcoreInfo | undefined;
  /** VMCOREINFO may be in pages that weren't looked at, and `findKernel` says later. */
  readonly isKernelUnsought: boolean;
}

/** @throws UsageError when the place of memory must be given. */
export async function guestOf(
  stream: QevmStream,
  ram: RamReader,
  domain: DomainMemory,
  options: Pick<QemuOptions, "map" | "blocks">,
  findKernel: KernelSearch = true,
): Promise<StreamGuest> {
  const { arch: known, vcpus } = vcpusOf(stream.devices);
  const { blocks } = options;
  const map: MachineMap =
    blocks === undefined
      ? await mapMachine(stream, domain, options.map ?? [])
      : asBlocks(stream, ram, blocks === true ? undefined : blocks);
  for (const [block, reason] of stream.absences)
    ram.index.map.announce(block.firstFrame, block.pages, reason);
  const isShared = stream.configuration.capabilities.includes("x-ignore-shared");
  const memory = new MappedMemory(
    ram.index.map,
    map.mappings,
    isShared ? ABSENT.leftShared : stream.lost.length > 0 ? ABSENT.lost : ABSENT.neverSent,
    (at) => ram.again.of(Math.floor(at / stream.pageSize)),
  );
  const arch = known ?? map.machine?.arch ?? X86_64;
  const guest = { arch, isArchKnown: known !== undefined, vcpus, map, memory };
  if (blocks !== undefined) return { ...guest, vmcoreInfo: undefined, isKernelUnsought: false };
  const vmcoreInfo = await vmcoreInfoOf(stream, ram, guest, findKernel);
  const isKernelUnsought = findKernel === "later" && vmcoreInfo === undefined && hasPagesUnseen(ram);
  return { ...guest, vmcoreInfo, isKernelUnsought };
}

/** Places blocks one after another from address 0. */
function asBlocks(stream: QevmStream, ram: RamReader, names: readonly string[] | undefined): MachineMap {
  const all = ram.blocks;
  const chosen =
    names?.map((name) => {
      const block = all.find((one) => one.name === name);
      if (block === undefined)
        throw new UsageError(
          `there is no RAM block '${name}', only ${all.map((one) => one.name).join(", ")}`,
          { source: stream.source },
          { option: "blocks" },
        );
      return block;
    }) ?? all;
  const mappings: Mapping[] = [];
  let start = 0;
  for (const block of chosen) {
    mappings.push({ start, end: start + block.length, at: block.firstFrame * stream.pageSize });
    start += block.length;
  }
  return {
    machine: undefined,
    mappings,
    ram: chosen,
    unplaced: [],
    evidence: ["blocks one after another"],
    warnings: [],
  };
}

/** Whether pages were not looked at on the way: those that came compressed or are in a mapped-ram file. */
const hasPagesUnseen = ({ blocks }: RamReader): boolean =>
  blocks.some(({ counts, mapped }) => counts.compressed > 0 || mapped !== undefined);

/** Memory a read of which ends where bytes of the stream are lost with packed data. */
function withoutLost(memory: PhysicalMemory): PhysicalMemory {
  const none = (error: unknown): number => {
    if (error instanceof LostBytesError) return 0;
    throw error;
  };
  return {
    ranges: () => memory.ranges(),
    pieces: (start, end) => memory.pieces(start, end),
    read(gpa, into) {
      try {
        const read = memory.read(gpa, into);
        return read instanceof Promise ? read.catch(none) : read;
      } catch (error) {
        return none(error);
      }
    },
  };
}

/** VMCOREINFO from where the vmcoreinfo device says, else from pages that were seen to begin like it. */
async function vmcoreInfoOf(
  stream: QevmStream,
  ram: RamReader,
  { memory: whole, map: { mappings }, arch, vcpus }: Omit<StreamGuest, "vmcoreInfo" | "isKernelUnsought">,
  findKernel: KernelSearch,
): Promise<VmcoreInfo | undefined> {
  const { pageSize } = stream;
  const memory = stream.lost.length === 0 ? whole : withoutLost(whole);
  const within = (ranges: readonly MemoryRange[]): PhysicalMemory => ({
    ranges: () => ranges,
    read: (gpa, into) => memory.read(gpa, into),
    pieces: (start, end) => memory.pieces(start, end),
  });
  const page = (gpa: number): MemoryRange => ({ start: gpa, end: gpa + pageSize, presence: "present" });
  const noteAddress = notePlace(stream);
  const noted =
    noteAddress === undefined ? undefined : await findVmcoreInfo(within([page(noteAddress)]), arch);
  // the device keeps what a kernel before this one wrote to it
  if (noted !== undefined && (await fitsMemory(memory, noted.text, arch)) !== false) return noted;
  if (hasPagesUnseen(ram)) {
    if (findKernel === "later" && noted === undefined) return undefined;
    return (await findVmcoreInfo(memory, arch, vcpus, findKernel !== false)) ?? noted;
  }
  const seen = ram.noteFrames
    .flatMap((frame) =>
      mappings.flatMap(({ start, end, at }) =>
        at !== undefined && frame * pageSize >= at && frame * pageSize < at + (end - start)
          ? [start + frame * pageSize - at]
          : [],
      ),
    )
    .sort((a, b) => a - b);
  return (await findVmcoreInfo(within(seen.map(page)), arch)) ?? noted;
}
