import { QEMU_CORE_RULES } from "./rules.js";
import type { AddressRange } from "./presence.js";
import { objectTypeName, type Program } from "./value.js";

const MOST_BITS = 1 << 26;

/** Sources that one manager asks; a list of more is a loop or damage. */
const MOST_SOURCES = 64;

/**
 * The parts of a range that its discard manager says are populated: a virtio-mem device's plugged blocks.
 *
 * @param manager Host address of what the region names as its manager: up to QEMU 10 the device itself, since 11 an
 *   object that asks one or more sources. What any of them discards isn't there.
 * @returns undefined when none of the sources is a virtio-mem device.
 */
export async function pluggedParts(
  program: Program,
  manager: number,
  range: AddressRange,
): Promise<AddressRange[] | undefined> {
  const sources = (await sourcesOf(program, manager)) ?? [manager];
  let parts: AddressRange[] | undefined;
  for (const source of sources) {
    const plugged = await partsOfDevice(program, source, range);
    if (plugged !== undefined) parts = parts === undefined ? plugged : common(parts, plugged);
  }
  return parts;
}

/** The sources of a manager that is an object of its own; undefined when it isn't one. */
async function sourcesOf(program: Program, manager: number): Promise<number[] | undefined> {
  if ((await objectTypeName(program, manager)) !== "ram-discard-manager") return undefined;
  const type = program.type("RamDiscardManager");
  if (type === undefined) return undefined;
  const sources: number[] = [];
  let entry = await (await program.read(type, manager, "RamDiscardManager")).follow("source_list.lh_first");
  while (entry !== undefined) {
    if (sources.length === MOST_SOURCES)
      throw program.error(
        QEMU_CORE_RULES.listLoop,
        `the sources of the discard manager at 0x${manager.toString(16)} are more than ${MOST_SOURCES}`,
      );
    sources.push(entry.number("rds"));
    entry = await entry.follow("next.le_next");
  }
  return sources;
}

/** What two ascending lists of ranges have in common. */
function common(a: readonly AddressRange[], b: readonly AddressRange[]): AddressRange[] {
  const both: AddressRange[] = [];
  for (let i = 0, k = 0; ; ) {
    const [one, other] = [a[i], b[k]];
    if (one === undefined || other === undefined) return both;
    const start = Math.max(one.start, other.start);
    const end = Math.min(one.end, other.end);
    if (start < end) both.push({ start, end });
    if (one.end <= other.end) i += 1;
    else k += 1;
  }
}

async function partsOfDevice(
  program: Program,
  address: number,
  range: AddressRange,
): Promise<AddressRange[] | undefined> {
  const type = program.type("VirtIOMEM");
  if (type === undefined || (await objectTypeName(program, address)) !== "virtio-mem") return undefined;
  const device = await program.read(type, address, "VirtIOMEM");
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
