import { loadBias, type LoadedImage, mainImage, ProcessCore } from "../../elf/core.js";
import { ElfFile } from "../../elf/file.js";
import type { ProcessMemory } from "../../elf/process-memory.js";
import { DebugInfo } from "../../dwarf/info.js";
import type { GuestImage } from "../../guest/image.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readVcpus } from "./cpus.js";
import { type QemuStateOptions, type QemuState, readQemuState } from "./state.js";
import { Program } from "./value.js";
import { deviceNote, vmcoreInfoOf } from "./vmcoreinfo.js";

/** A process and what the kernel passed to it at its start. */
export interface Process {
  readonly memory: ProcessMemory;
  readonly auxv: ReadonlyMap<number, bigint>;
}

/** Finds the debug information of a program. */
export type DebugFinder = (image: LoadedImage) => Promise<{ elf: ElfFile; info: DebugInfo }>;

/** QEMU's state and the program it is of. */
export interface OpenedQemu extends QemuState {
  readonly image: LoadedImage;
}

/** Reads QEMU's state out of a core or a running process. */
export async function openQemuProcess(
  process: Process,
  findDebug: DebugFinder,
  options: QemuStateOptions = {},
): Promise<OpenedQemu> {
  const image = await mainImage(process.memory, process.auxv);
  const { elf, info } = await findDebug(image);
  const base = image.elf === undefined ? undefined : image.base;
  const { bias } = loadBias(process.memory.name, process.auxv, elf, base);
  const complete = (await elf.section(".symtab")) !== undefined;
  const symbols = complete ? await elf.symbols() : undefined;
  const program = new Program(process.memory, info, bias, elf.order, symbols);
  return { ...(await readQemuState(program, image.path, options)), image };
}

/** The guest of a QEMU whose state was read. */
export async function guestOfQemu(
  state: QemuState,
  origin: string,
  { findKernel = true }: OpenOptions = {},
): Promise<GuestImage> {
  const { program, arch, machine, memory, view } = state;
  const warnings = [...state.warnings];
  const note = await deviceNote(program, memory, arch, (text) => warnings.push(text));
  const vcpus = await readVcpus(program, arch, machine.accelerator);
  const vmcoreInfo = note && vmcoreInfoOf(note);
  if (vcpus.some(({ caveat }) => caveat !== undefined))
    warnings.push(`vCPUs: ${vcpus.find(({ caveat }) => caveat !== undefined)?.caveat ?? ""}`);
  const guest: GuestImage = {
    arch,
    memory,
    vcpus,
    warnings,
    facts: {
      origin,
      source: program.memory.name,
      hypervisor: machine.version === undefined ? "QEMU" : `QEMU ${machine.version}`,
      ...(machine.name === undefined ? {} : { guestType: machine.name }),
      ...(vmcoreInfo === undefined ? {} : { vmcoreInfo }),
      specific: {
        kind: "qemu-process",
        accelerator: machine.accelerator,
        ramSize: machine.ramSize,
        dumpGuestCore: machine.dumpGuestCore,
      },
    },
    blocks: view.blocks.map(({ id, usedLength }) => ({ name: id, size: usedLength })),
  };
  return withVmcoreInfo(guest, findKernel);
}

/** Opens a core as a process. @throws FormatError `elf/…` */
export async function openCore(source: ByteSource): Promise<Process> {
  const core = await ProcessCore.open(source);
  return { memory: core, auxv: core.auxv };
}
