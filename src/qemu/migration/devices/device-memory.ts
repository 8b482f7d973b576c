import { barAddress, pciConfig, pciVendor, romAddress } from "./pci.js";
import type { DeviceState } from "./devices.js";
import type { RamBlock } from "../ram/blocks.js";

/** A block that a PCI device shows to the guest. */
export interface ShownBlock {
  readonly block: RamBlock;
  /** Undefined: the device is not in the stream, so it isn't known whether and where the block is shown. */
  readonly address: number | undefined;
}

const VMWARE = 0x15ad;
/** The BAR of a display's second, larger window to `qxl.vram`. */
const QXL_WIDE = 4;

/** Memory of displays, by the end of its block's name: the BAR that shows it from its start. */
const DISPLAY_BARS: readonly (readonly [string, (config: Uint8Array) => number])[] = [
  ["vga.vram", (config) => (pciVendor(config) === VMWARE ? 1 : 0)],
  ["/bochs-display-vram", () => 0],
  ["/qxl.vgavram", () => 0],
  ["/qxl.vram", (config) => (barAddress(config, QXL_WIDE) === undefined ? 1 : QXL_WIDE)],
  ["/qxl.vrom", () => 2],
  ["vmsvga.fifo", () => 2],
];
const ROM = /\/[^/]*\.rom$/;
/** `0000:00:02.0/`: the PCI address in front of what a device owns. */
const SLOT = /^[0-9a-f]{4}:[0-9a-f:.]+\//;

/** Whether a block is a PCI device's, by its name alone. */
export function isDeviceBlock(name: string): boolean {
  return ROM.test(name) || DISPLAY_BARS.some(([ending]) => name.endsWith(ending));
}

/** Where PCI devices show blocks of theirs. Blocks that are not shown now are left out. */
export function shownBlocks(blocks: readonly RamBlock[], devices: readonly DeviceState[]): ShownBlock[] {
  return blocks.flatMap((block): ShownBlock[] => {
    const bar = DISPLAY_BARS.find(([ending]) => block.name.endsWith(ending))?.[1];
    if (bar === undefined && !ROM.test(block.name)) return [];
    const config = configOf(block, devices);
    if (config === undefined) return bar === undefined ? [] : [{ block, address: undefined }];
    const address = bar === undefined ? romAddress(config) : barAddress(config, bar(config));
    return address === undefined ? [] : [{ block, address }];
  });
}

/** Displays whose block has no address in its name (machine types up to 2.12, VMware's queue). */
const DISPLAY = /\/(vga|cirrus_vga|qxl|vmware_vga|virtio-gpu)$/;

function configOf({ name }: RamBlock, devices: readonly DeviceState[]): Uint8Array | undefined {
  const slot = SLOT.exec(name)?.[0];
  const owners = devices.filter(({ section }) =>
    slot === undefined ? DISPLAY.test(section) : section.startsWith(slot),
  );
  const configs = owners.flatMap((owner) => pciConfig(owner) ?? []);
  return slot === undefined && configs.length > 1 ? undefined : configs[0];
}
