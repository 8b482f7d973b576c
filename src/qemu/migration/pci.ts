import { viewOf } from "../../binary/layout.js";
import { bytesOf, type DeviceState, findField } from "./devices.js";

/** The part of a configuration space that every device has. */
const HEADER = 0x40;
const COMMAND = 0x04;
const DECODES_MEMORY = 2;
const FIRST_BAR = 0x10;
const ROM_BAR = 0x30;
/** Virtio devices save their configuration in a form of their own: a u32 version, then the octets. */
const VIRTIO_VERSION = 2;
const VIRTIO_VENDOR = 0x1af4;
const HIGHEST_ADDRESS = 2 ** 52;

/** A PCI device's configuration space, as far as its saved state shows it; at least the header. */
export function pciConfig(device: DeviceState): Uint8Array | undefined {
  const plain = bytesOf(findField(device, ({ type }) => type === "pci config")?.value);
  if (plain !== undefined) return plain.length < HEADER ? undefined : plain;
  const virtio = bytesOf(findField(device, ({ type }) => type === "virtio")?.value);
  if (virtio === undefined || virtio.length < 4 + HEADER || viewOf(virtio).getUint32(0) !== VIRTIO_VERSION)
    return undefined;
  const config = virtio.subarray(4);
  return pciVendor(config) === VIRTIO_VENDOR ? config : undefined;
}

export function pciVendor(config: Uint8Array): number {
  return viewOf(config).getUint16(0, true);
}

/** Guest-physical address that a memory BAR shows its region at; undefined while it shows none. */
export function barAddress(config: Uint8Array, index: number): number | undefined {
  const view = viewOf(config);
  const at = FIRST_BAR + index * 4;
  const bar = view.getUint32(at, true);
  if ((view.getUint16(COMMAND, true) & DECODES_MEMORY) === 0 || (bar & 1) !== 0) return undefined;
  const high = (bar & 6) === 4 ? view.getUint32(at + 4, true) : 0;
  const address = high * 0x1_0000_0000 + (bar - (bar & 0xf));
  return address > 0 && address < HIGHEST_ADDRESS ? address : undefined;
}

/** Guest-physical address of a device's ROM; undefined while it is not shown. */
export function romAddress(config: Uint8Array): number | undefined {
  const view = viewOf(config);
  const bar = view.getUint32(ROM_BAR, true);
  const shown = (view.getUint16(COMMAND, true) & DECODES_MEMORY) !== 0 && (bar & 1) !== 0;
  const address = bar - (bar & 0x7ff);
  return shown && address > 0 ? address : undefined;
}
