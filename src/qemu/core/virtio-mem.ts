import { QEMU_CORE_RULES } from "./rules.js";
import type { AddressRange } from "./presence.js";
import { objectTypeName, type Program } from "./value.js";

const MOST_BITS = 1 << 26;

/**
 * The plugged parts of a virtio-mem device, by the bitmap that the device keeps.
 *
 * @param manager Host address of the RamDiscardManager, which is the device itself.
 * @returns undefined when the manager is not a virtio-mem device.
 */
export async function pluggedParts(
  program: Program,
  manager: number,
  range: AddressRange,
): Promise<AddressRange[] | undefined> {
  const type = program.type("VirtIOMEM");
  if (type === undefined || (await objectTypeName(program, manager)) !== "virtio-mem") return undefined;
  const device = await program.read(type, manager, "VirtIOMEM");
  const bits = device.number("bitmap_size");
  const blockSize = device.number("block_size");
  const base = device.number("addr");
  if (bits > MOST_BITS || blockSize === 0) {
    throw program.error(
      QEMU_CORE_RULES.virtioMem,
      `a virtio-mem device of ${bits} blocks of ${blockSize} bytes`,
    );
  }
  // words of `unsigned long`: in order of bytes where the host is little endian
  const word = device.type.field("bitmap")?.size ?? 8;
  const bitmap = await program.bytes(
    device.number("bitmap"),
    Math.ceil(bits / (8 * word)) * word,
    "VirtIOMEM.bitmap",
  );
  const byteOf = (bit: number): number => {
    const byte = bit >> 3;
    return program.order === "little" ? byte : byte - (byte % word) + (word - 1 - (byte % word));
  };
  const parts: { start: number; end: number }[] = [];
  for (let bit = 0; bit < bits; bit += 1) {
    if ((((bitmap[byteOf(bit)] ?? 0) >> (bit & 7)) & 1) === 0) continue;
    const start = Math.max(range.start, base + bit * blockSize);
    const end = Math.min(range.end, base + (bit + 1) * blockSize);
    if (start >= end) continue;
    const last = parts.at(-1);
    if (last?.end === start) last.end = end;
    else parts.push({ start, end });
  }
  return parts;
}
