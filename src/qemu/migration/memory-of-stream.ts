import { type Architecture, type VmcoreInfo, X86_64 } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/input-format.js";
import { findVmcoreInfo } from "../../guest/kernel/vmcoreinfo.js";
import type { MemoryRange, PhysicalMemory } from "../../guest/memory.js";
import type { Vcpu } from "../../guest/vcpu.js";
import { UsageError } from "../../io/errors.js";
import { type DomainMemory, type MachineMap, mapMachine } from "./machine/map.js";
import { MappedMemory, type Mapping } from "./ram/mapped-memory.js";
import { notePlace } from "./machine/node-order.js";
import type { RamReader } from "./ram/records.js";
import { processorsOf } from "./devices/registers.js";
import type { QevmStream } from "./read.js";

/** Settings (`OpenOptions.settings`) of QEMU's saved states. */
export interface MigrationSettings {
  /** `BLOCK@ADDRESS` each: where RAM blocks lie whose place the stream doesn't hold. */
  readonly map?: readonly string[];
  /** Blocks as they are, one behind another from address 0, without a machine's map: all, or those named. */
  readonly blocks?: true | readonly string[];
}

export function settingsOf(options: OpenOptions): MigrationSettings {
  const { map, blocks } = options.settings ?? {};
  const texts = (value: unknown): string[] | undefined =>
    typeof value === "string" ? value.split(",") : Array.isArray(value) ? value.map(String) : undefined;
  const placed = texts(map);
  const named = blocks === true ? true : texts(blocks);
  return {
    ...(placed === undefined ? {} : { map: placed }),
    ...(named === undefined ? {} : { blocks: named }),
  };
}

/** Why pages that no record holds are absent. */
const NEVER_SENT = "never sent";
const LEFT_SHARED = "left in shared memory (x-ignore-shared)";

/** Memory and processors of a stream that was read. */
export interface StreamGuest {
  readonly arch: Architecture;
  /** False: no processor's state tells, so it is what such machines mostly are. */
  readonly isArchKnown: boolean;
  readonly vcpus: readonly Vcpu[];
  readonly map: MachineMap;
  readonly memory: PhysicalMemory;
  readonly vmcoreInfo: VmcoreInfo | undefined;
}

/** @throws UsageError when the place of memory must be given. */
export async function guestOf(
  stream: QevmStream,
  ram: RamReader,
  domain: DomainMemory,
  settings: MigrationSettings,
): Promise<StreamGuest> {
  const { arch: told, vcpus } = processorsOf(stream.devices);
  const { blocks } = settings;
  const map: MachineMap =
    blocks === undefined
      ? await mapMachine(stream, domain, settings.map ?? [])
      : asBlocks(stream, ram, blocks === true ? undefined : blocks);
  const isShared = stream.configuration.capabilities.includes("x-ignore-shared");
  const memory = new MappedMemory(ram.index.map, map.mappings, isShared ? LEFT_SHARED : NEVER_SENT);
  const arch = told ?? map.machine?.arch ?? X86_64;
  const guest = { arch, isArchKnown: told !== undefined, vcpus, map, memory };
  const vmcoreInfo = blocks === undefined ? await vmcoreInfoOf(stream, ram, guest) : undefined;
  return { ...guest, vmcoreInfo };
}

/** Blocks one behind another. */
function asBlocks(stream: QevmStream, ram: RamReader, names: readonly string[] | undefined): MachineMap {
  const all = ram.blocks;
  const chosen =
    names?.map((name) => {
      const block = all.find((one) => one.name === name);
      if (block === undefined)
        throw new UsageError(
          `--blocks ${name}: there is no such block, only ${all.map((one) => one.name).join(", ")}`,
        );
      return block;
    }) ?? all;
  const mappings: Mapping[] = [];
  let start = 0;
  for (const block of chosen) {
    mappings.push({ start, end: start + block.length, at: block.firstFrame * stream.pageSize });
    start += block.length;
  }
  return { machine: undefined, mappings, ram: chosen, evidence: ["blocks one behind another"], warnings: [] };
}

/** VMCOREINFO from where the vmcoreinfo device says, else from pages that were seen to begin like it. */
async function vmcoreInfoOf(
  stream: QevmStream,
  ram: RamReader,
  { memory, map: { mappings }, arch, vcpus }: Omit<StreamGuest, "vmcoreInfo">,
): Promise<VmcoreInfo | undefined> {
  const { pageSize } = stream;
  const within = (ranges: readonly MemoryRange[]): PhysicalMemory => ({
    ranges: () => ranges,
    read: (gpa, into) => memory.read(gpa, into),
    pieces: (start, end) => memory.pieces(start, end),
  });
  const page = (gpa: number): MemoryRange => ({ start: gpa, end: gpa + pageSize, presence: "present" });
  const told = notePlace(stream);
  if (told !== undefined) {
    const found = await findVmcoreInfo(within([page(told)]), arch);
    if (found !== undefined) return found;
  }
  // pages that came compressed or stand in a map of the file were not looked at on the way
  const all = ram.blocks.some(({ counts, mapped }) => counts.compressed > 0 || mapped !== undefined);
  if (all) return findVmcoreInfo(memory, arch, vcpus);
  const seen = ram.noteFrames
    .flatMap((frame) =>
      mappings.flatMap(({ start, end, at }) =>
        at !== undefined && frame * pageSize >= at && frame * pageSize < at + (end - start)
          ? [start + frame * pageSize - at]
          : [],
      ),
    )
    .sort((a, b) => a - b);
  return findVmcoreInfo(within(seen.map(page)), arch);
}
