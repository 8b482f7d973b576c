import { viewOf } from "../../../binary/layout.js";
import { nfitMemory } from "./acpi-tables.js";
import { bytesOf, type DeviceState, fieldOf, findField, numberOf } from "../devices/devices.js";
import { ORDER } from "../layout.js";
import { virtioMemState } from "./layout.js";
import type { RamBlock } from "../ram/blocks.js";

/** Memory that a device brings to the machine, at the address it is plugged at. */
export interface PluggedMemory {
  readonly block: RamBlock;
  readonly address: number;
  /** Parts of the block that the guest has, in bytes; the whole of it unless given. */
  readonly parts?: readonly { readonly start: number; readonly end: number }[];
  readonly evidence: string;
}

/** Where a description beside the stream puts a memory device. */
export interface PlacedDevice {
  /** Of its memory backend, which names the block. */
  readonly id: string;
  /** Guest-physical. */
  readonly address: number;
}

/** Memory devices whose address the stream or the domain's description gives. */
export function memoryDevices(
  blocks: readonly RamBlock[],
  devices: readonly DeviceState[],
  tables: Uint8Array | undefined,
  placed: readonly PlacedDevice[],
): PluggedMemory[] {
  const found: PluggedMemory[] = [];
  for (const block of blocks) {
    const virtio = virtioMem(block, devices);
    if (virtio !== undefined) {
      const { address, parts } = virtio;
      found.push({ block, address, parts, evidence: `virtio-mem '${block.name}' as its device says` });
      continue;
    }
    const device = placed.find(({ id }) => id === block.name.replace(/^\/objects\//, ""));
    if (device !== undefined)
      found.push({ block, address: device.address, evidence: `'${block.name}' as the domain's XML says` });
  }
  return [...found, ...persistent(blocks, found, tables)];
}

/** A memory backend's block: its id alone, with its path in machine types up to 3.1. */
const BACKEND = /^(\/objects\/)?[^/]+$/;

/** NVDIMMs: the NFIT has addresses and sizes, not names; a size that occurs once on both sides is enough. */
function persistent(
  blocks: readonly RamBlock[],
  known: readonly PluggedMemory[],
  tables: Uint8Array | undefined,
): PluggedMemory[] {
  if (tables === undefined) return [];
  const ranges = nfitMemory(tables).filter(({ start }) => !known.some(({ address }) => address === start));
  return ranges.flatMap(({ start, size }): PluggedMemory[] => {
    const alike = blocks.filter(({ name, length }) => length === size && BACKEND.test(name));
    const [block] = alike;
    if (block === undefined || alike.length > 1 || ranges.filter((one) => one.size === size).length > 1)
      return [];
    return [{ block, address: start, evidence: `'${block.name}' from the ACPI NFIT` }];
  });
}

interface VirtioMem {
  readonly address: number;
  readonly parts: readonly { readonly start: number; readonly end: number }[];
}

const HIGHEST_ADDRESS = 2n ** 52n;
const SMALLEST_UNIT = 4096n;

/** Name of the section that a virtio-mem device of machine types since 8.0 has before RAM, after its slot. */
export const EARLY = "virtio-mem-device-early";

/** What a virtio-mem device has plugged of its block; undefined when no device's state fits the block. */
function virtioMem(block: RamBlock, devices: readonly DeviceState[]): VirtioMem | undefined {
  const slot = block.name.slice(0, block.name.lastIndexOf("/") + 1);
  if (slot === "") return undefined;
  const early = devices.find(({ section }) => section === slot + EARLY);
  return early === undefined ? withinVirtio(block, slot, devices) : earlyState(block, early);
}

/** State of machine types since 8.0: a section of its own, in front of RAM. */
function earlyState(block: RamBlock, device: DeviceState): VirtioMem | undefined {
  const number = (name: string): number | undefined =>
    numberOf(findField(device, (field) => field.name === name)?.value);
  const address = number("addr");
  const unit = number("block_size");
  const bitmap = bytesOf(fieldOf(device, "bitmap"));
  if (address === undefined || unit === undefined || bitmap === undefined) return undefined;
  if (number("region_size") !== block.length || unit < Number(SMALLEST_UNIT)) return undefined;
  if (!Number.isInteger(Math.log2(unit)) || block.length % unit !== 0) return undefined;
  if (address % unit !== 0 || address > Number(HIGHEST_ADDRESS)) return undefined;
  const bits = block.length / unit;
  if (Math.ceil(bits / 64) * 8 > bitmap.length) return undefined;
  const parts = pluggedParts(viewOf(bitmap), 0, bits, unit);
  return sizeOf(parts) === number("size") ? { address, parts } : undefined;
}

const sizeOf = (parts: VirtioMem["parts"]): number =>
  parts.reduce((sum, { start, end }) => sum + end - start, 0);

/**
 * What machine types before 8.0 save is somewhere in virtio's own, which has no
 * description; a bit for each unit follows it, in words of 64. It is known by the block's length and by its sums.
 */
function withinVirtio(block: RamBlock, slot: string, devices: readonly DeviceState[]): VirtioMem | undefined {
  const device = devices.find(({ section }) => section === `${slot}virtio-mem`);
  const bytes = device === undefined ? undefined : bytesOf(fieldOf(device, "virtio"));
  if (bytes === undefined) return undefined;
  const view = viewOf(bytes);
  const length = BigInt(block.length);
  for (let at = 0; at + virtioMemState.size <= bytes.length; at += 1) {
    if (view.getBigUint64(at + virtioMemState.offsetOf("region")) !== length) continue;
    const { address, unit, usable, plugged, requested } = virtioMemState.read(view, at, ORDER);
    if (unit < SMALLEST_UNIT || (unit & (unit - 1n)) !== 0n || address % unit !== 0n) continue;
    if (address > HIGHEST_ADDRESS || usable > length || plugged > length || requested > length) continue;
    const bits = Math.ceil(Number(length) / Number(unit));
    const bitmap = at + virtioMemState.size;
    if (bitmap + Math.ceil(bits / 64) * 8 > bytes.length) continue;
    const parts = pluggedParts(view, bitmap, bits, Number(unit));
    if (BigInt(sizeOf(parts)) === plugged) return { address: Number(address), parts };
  }
  return undefined;
}

/** Pages of a block that its virtio-mem device has not plugged: QEMU doesn't send them. */
export function unpluggedPages(block: RamBlock, devices: readonly DeviceState[]): number {
  const device = virtioMem(block, devices);
  if (device === undefined) return 0;
  return (block.pages / block.length) * (block.length - sizeOf(device.parts));
}

/** Bits as words of 64, most significant byte first. */
function pluggedParts(
  view: DataView,
  bitmap: number,
  bits: number,
  unit: number,
): { start: number; end: number }[] {
  const parts: { start: number; end: number }[] = [];
  for (let bit = 0; bit < bits; bit += 1) {
    const byte = bitmap + (bit >> 6) * 8 + 7 - ((bit >> 3) & 7);
    if (((view.getUint8(byte) >> (bit & 7)) & 1) === 0) continue;
    const last = parts.at(-1);
    if (last?.end === bit * unit) last.end += unit;
    else parts.push({ start: bit * unit, end: (bit + 1) * unit });
  }
  return parts;
}
