import { appendTo } from "../../binary/arrays.js";
import { architectureNamed, architectureOf } from "./architecture.js";
import { type FlatRange, type FlatView, isGuestMemory, readFlatView } from "./flat-view.js";
import { backendDumped, type Machine, readMachine } from "./machine.js";
import { ExtentMemory } from "./memory.js";
import {
  type AddressRange,
  type Backing,
  type BackingBlock,
  type Extent,
  PresenceRules,
} from "./presence.js";
import type { Program } from "./value.js";
import { pluggedParts } from "./virtio-mem.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import type { QemuOptions } from "../../guest/options.js";

/** How a QEMU process is to be read. */
export interface QemuStateOptions extends Pick<QemuOptions, "arch" | "excludeNonvolatile" | "keepUnplugged"> {
  /** Opened files of memory backends whose contents the core lacks. */
  readonly backings?: readonly Backing[];
}

/** All that is read of a QEMU process except its vCPUs and VMCOREINFO. */
export interface QemuState {
  readonly program: Program;
  readonly arch: Architecture;
  readonly machine: Machine;
  readonly view: FlatView;
  /** Ranges of the flat view that are guest memory. */
  readonly selected: readonly FlatRange[];
  readonly memory: ExtentMemory;
  readonly warnings: readonly string[];
}

/**
 * Reads the memory map and where its contents are.
 *
 * @param path Of the program, where known.
 */
export async function readQemuState(
  program: Program,
  path: string | undefined,
  options: QemuStateOptions,
): Promise<QemuState> {
  const warnings: string[] = [];
  const { arch } = options;
  const view = await readFlatView(program);
  const machine = await readMachine(program);
  const selected = view.ranges.filter((range) => isGuestMemory(range, options.excludeNonvolatile));
  const rules = new PresenceRules(program.memory, machine.dumpGuestCore, options.backings ?? []);
  const dumped = new Map<number, boolean | undefined>();
  const extents: Extent[] = [];
  for (const range of selected) {
    const { ram, region } = range;
    if (ram === undefined) continue;
    if (!dumped.has(region.owner)) dumped.set(region.owner, await backendDumped(program, region.owner));
    const block: BackingBlock = { ...ram.block, dumped: dumped.get(region.owner) };
    const whole = { start: range.start, end: range.start + range.size };
    const parts =
      options.keepUnplugged === true ? [whole] : await guestParts(program, range, whole, warnings);
    for (const { start, end } of parts)
      appendTo(extents, rules.extents(block, ram.host + (start - range.start), end - start, start));
  }
  for (const { guestMemfd, id } of view.blocks) {
    if (!guestMemfd) continue;
    warnings.push(
      `RAM block '${id}' has private pages in a guest_memfd of KVM: only what the guest shares is in the core`,
    );
  }
  for (const backing of options.backings ?? []) {
    if (!rules.used.has(backing))
      warnings.push(`backing file for '${backing.id}': nothing in the core needed it`);
  }
  return {
    program,
    arch: arch === undefined ? await architectureOf(program, path) : architectureNamed(arch),
    machine,
    view,
    selected,
    memory: new ExtentMemory(extents),
    warnings,
  };
}

/** The parts of a range that the guest has: of a virtio-mem device only what is plugged. */
async function guestParts(
  program: Program,
  range: FlatRange,
  whole: AddressRange,
  warnings: string[],
): Promise<readonly AddressRange[]> {
  const { discardManager, name } = range.region;
  if (discardManager === 0) return [whole];
  const plugged = await pluggedParts(program, discardManager, whole);
  if (plugged !== undefined) return plugged;
  warnings.push(`region '${name ?? "?"}' is plugged in parts by an unknown device: all of it is taken`);
  return [whole];
}
