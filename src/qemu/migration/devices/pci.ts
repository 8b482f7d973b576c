import { viewOf } from "../../../binary/layout.js";
import { MACHINE_ORDER, pciHeader } from "../machine/layout.js";
import { bytesOf, type DeviceState, findField } from "./devices.js";

const DECODES_MEMORY = 2;
/** Virtio devices save their configuration in a form of their own: a u32 version, then the bytes. */
const VIRTIO_VERSION = 2;
const VIRTIO_VENDOR = 0x1af4;
const HIGHEST_ADDRESS = 2 ** 52;

/** A PCI device's configuration space, as far as its saved state shows it; at least the header. */
export function pciConfig(device: DeviceState): Uint8Array | undefined {
  const plain = bytesOf(findField(device, ({ type }) => type === "pci config")?.value);
  if (plain !== undefined) return plain.length < pciHeader.size ? undefined : plain;
  const virtio = bytesOf(findField(device, ({ type }) => type === "virtio")?.value);
  if (
    virtio === undefined ||
    virtio.length < 4 + pciHeader.size ||
    viewOf(virtio).getUint32(0) !== VIRTIO_VERSION
  )
    return undefined;
  const config = virtio.subarray(4);
  return pciVendor(config) === VIRTIO_VENDOR ? config : undefined;
}

export function pciVendor(config: Uint8Array): number {
  return pciHeader.decode(config, MACHINE_ORDER).vendor;
}

/** Guest-physical address that a memory BAR shows its region at; undefined while it shows none. */
export function barAddress(config: Uint8Array, index: number): number | undefined {
  const { command, bars } = pciHeader.decode(config, MACHINE_ORDER);
  const bar = bars[index] ?? 0;
  if ((command & DECODES_MEMORY) === 0 || (bar & 1) !== 0) return undefined;
  const high = (bar & 6) === 4 ? (bars[index + 1] ?? 0) : 0;
  const address = high * 0x1_0000_0000 + (bar - (bar & 0xf));
  return address > 0 && address < HIGHEST_ADDRESS ? address : undefined;
}

/** Guest-physical address of a device's ROM; undefined while it is not shown. */
export function romAddress(config: Uint8Array): number | undefined {
  const { command, rom } = pciHeader.decode(config, MACHINE_ORDER);
  const isShown = (command & DECODES_MEMORY) !== 0 && (rom & 1) !== 0;
  const address = rom - (rom & 0x7ff);
  return isShown && address > 0 ? address : undefined;
}
