import { appendTo } from "../../../binary/arrays.js";
import { absentReasons } from "../../../guest/absent.js";
import type { AskedMemory } from "../../command-line/memory.js";
import type { Machine } from "../../machines.js";
import type { Extent, PresenceRules } from "../presence.js";
import type { MappedBlock } from "./mapped-blocks.js";

/** Guest-physical addresses at which a part of a block is. */
export interface PlacedRange {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly mapped: MappedBlock;
  /** Offset in the block. */
  readonly offset: number;
}

export const FOUR_GIB = 2 ** 32;
/** What PC machines show a display's memory at, and ROM or RAM as the chipset's registers say. */
const VGA_WINDOW = { start: 0xa0000, end: 0xc0000 };
export const SHADOW = { start: 0xc0000, bios: 0xe0000, end: 0x100000 };

const { romOrRam: ROM_OR_RAM } = absentReasons({
  romOrRam: {
    kind: "excluded",
    text: "ROM or RAM: the chipset's registers are found with debug information only",
  },
});

/**
 * RAM at guest-physical addresses as the kind of machine has it: blocks one after another from its start on, parted at
 * 4 GiB, then those whose address is given. Ascending; where two claim one address, both are there.
 */
export function placeBlocks(
  machine: Machine,
  below: number | undefined,
  blocks: readonly MappedBlock[],
  given: ReadonlyMap<string, number> = new Map(),
): readonly PlacedRange[] {
  const ranges: PlacedRange[] = [];
  let next = machine.start;
  for (const mapped of blocks) {
    const { size, name } = mapped.block;
    const address = given.get(name);
    const start = address ?? next;
    if (address === undefined) next += size;
    // addresses given beyond are the guest's; those of blocks one after another count RAM
    const low =
      below === undefined || (address !== undefined && address >= below)
        ? size
        : Math.min(size, Math.max(0, below - start));
    if (low > 0) ranges.push({ start, end: start + low, mapped, offset: 0 });
    if (low < size) {
      const high = FOUR_GIB + Math.max(0, start - (below ?? 0));
      ranges.push({ start: high, end: high + size - low, mapped, offset: low });
    }
  }
  return ranges.sort((a, b) => a.start - b.start);
}

/** Where ROM may hide RAM: a microvm has none for cards. */
const romOf = ({ kind }: Machine): { start: number; end: number; isRom: true } => ({
  start: kind === "microvm" ? SHADOW.bios : SHADOW.start,
  end: SHADOW.end,
  isRom: true,
});

/** Contents of placed RAM, without what a PC hides of it below 1 MiB: a display's window, and ROM where `isShadowed` is false. */
export function contentsOf(
  ranges: readonly PlacedRange[],
  { hasVga, machine }: Pick<AskedMemory, "hasVga" | "machine">,
  isShadowed: boolean,
  presence: PresenceRules,
): Extent[] {
  const extents: Extent[] = [];
  const holes = [
    ...(hasVga ? [{ ...VGA_WINDOW, isRom: false }] : []),
    ...(machine?.roms === undefined || (isShadowed && machine.roms !== "always") ? [] : [romOf(machine)]),
  ];
  for (const { start, end, mapped, offset } of ranges) {
    const add = (from: number, to: number): void => {
      if (from >= to) return;
      const { block, host } = mapped;
      const dumped = !block.isLeftOut;
      const at = host + offset + (from - start);
      appendTo(extents, presence.extents({ id: block.name, host, dumped }, at, to - from, from));
    };
    let at = start;
    for (const hole of holes) {
      const [from, to] = [Math.max(at, hole.start), Math.min(end, hole.end)];
      if (from >= to) continue;
      add(at, from);
      if (hole.isRom) extents.push({ start: from, end: to, presence: "absent", reason: ROM_OR_RAM });
      at = to;
    }
    add(at, end);
  }
  return extents;
}
