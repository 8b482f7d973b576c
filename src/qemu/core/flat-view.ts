import { QEMU_CORE_RULES } from "./rules.js";
import { type Program, type Value } from "./value.js";

/** Longest lists and chains believed; more is a loop or damage. */
const MOST_RANGES = 1_000_000;
const MOST_BLOCKS = 100_000;
const MOST_ALIASES = 64;
const OFFSET_MASK = 4096;

/** A stretch of host memory that backs guest memory. */
export interface RamBlock {
  /** Host address of the RAMBlock structure. */
  readonly address: number;
  /** `pc.ram`, `0000:00:02.0/vga.vram`. */
  readonly id: string;
  /** Host address of its first byte. */
  readonly host: number;
  /** Offset in the space of all RAM blocks. */
  readonly offset: number;
  readonly usedLength: number;
  readonly maxLength: number;
  readonly flags: number | undefined;
  /** File descriptor of what it is mapped from; -1 for anonymous memory, undefined where the build lacks it. */
  readonly fd: number | undefined;
  readonly pageSize: number | undefined;
  /** Its private pages are in a file descriptor of KVM, out of reach. */
  readonly guestMemfd: boolean;
}

/** What the walk needs of a MemoryRegion. */
export interface Region {
  readonly address: number;
  readonly name: string | undefined;
  readonly ram: boolean;
  readonly ramDevice: boolean;
  readonly nonvolatile: boolean;
  readonly readonly: boolean;
  readonly romd: boolean;
  readonly priority: number;
  /** Host address of its owner (a QOM object); 0 without. */
  readonly owner: number;
  /** Host address of the manager of plugged blocks (virtio-mem); 0 without. */
  readonly discardManager: number;
}

/** One range of the flat view: a stretch of guest-physical addresses and the region that answers there. */
export interface FlatRange {
  readonly start: number;
  readonly size: number;
  readonly offsetInRegion: number;
  readonly region: Region;
  readonly readonly: boolean;
  readonly nonvolatile: boolean;
  /** Host address of its first byte and the block there; only of RAM. */
  readonly ram: { readonly host: number; readonly block: RamBlock } | undefined;
}

export interface FlatView {
  readonly ranges: readonly FlatRange[];
  readonly blocks: readonly RamBlock[];
}

/**
 * Reads the guest's memory map out of QEMU: `address_space_memory.current_map` and `ram_list.blocks`.
 *
 * @throws FormatError `qemu/core/…` for what can't be, AbsentError for what the core lacks.
 */
export async function readFlatView(program: Program): Promise<FlatView> {
  const space = await program.variable("address_space_memory");
  const list = await program.variable("ram_list");
  if (space === undefined || list === undefined) {
    throw program.error(
      QEMU_CORE_RULES.notQemu,
      `the program has no ${space === undefined ? "address_space_memory" : "ram_list"}: not a QEMU system emulator`,
    );
  }
  const blocks = await readBlocks(program, list);
  // a structure within AddressSpace up to QEMU 1.2, a pointer since
  const embedded = space.type.field("current_map")?.type.peel().kind === "structure";
  const view = embedded ? space.member("current_map") : await space.follow("current_map");
  if (view === undefined) {
    throw program.error(
      QEMU_CORE_RULES.noFlatView,
      "address_space_memory has no memory map yet: QEMU was still starting",
    );
  }
  const count = view.number("nr");
  if (count > MOST_RANGES) throw program.error(QEMU_CORE_RULES.flatView, `a flat view of ${count} ranges`);
  const regions = new RegionReader(program, blocks);
  const ranges: FlatRange[] = [];
  for (const value of await view.followArray("ranges", count)) {
    const range = await regions.range(value);
    const last = ranges.at(-1);
    if (last !== undefined && range.start < last.start + last.size) {
      throw program.error(QEMU_CORE_RULES.flatView, `${value.what} begins within the range before it`);
    }
    ranges.push(range);
  }
  return { ranges, blocks };
}

async function readBlocks(program: Program, list: Value): Promise<RamBlock[]> {
  // a QLIST up to 1.3 and since 2.3, a QTAILQ between
  const first = list.any("blocks.lh_first", "blocks.tqh_first");
  if (first === undefined) throw program.error(QEMU_CORE_RULES.field, "ram_list.blocks is no list known");
  const blocks: RamBlock[] = [];
  const seen = new Set<number>();
  let value = await list.follow(first);
  while (value !== undefined) {
    if (seen.has(value.address) || seen.size >= MOST_BLOCKS) {
      throw program.error(
        QEMU_CORE_RULES.listLoop,
        `the list of RAM blocks comes back to 0x${value.address.toString(16)}`,
      );
    }
    seen.add(value.address);
    blocks.push(readBlock(value));
    value = await value.follow(value.any("next.le_next", "next.tqe_next") ?? "next.le_next");
  }
  return blocks;
}

const GUEST_MEMFD_FLAG = 1 << 12;

function readBlock(value: Value): RamBlock {
  const used = value.number(value.has("used_length") ? "used_length" : "length");
  // the second name since QEMU 11
  const memfd = value.any("guest_memfd", "guest_memfd_private");
  const flags = value.has("flags") ? value.number("flags") : undefined;
  return {
    address: value.address,
    id: value.text("idstr"),
    host: value.number("host"),
    offset: value.number("offset"),
    usedLength: used,
    maxLength: value.has("max_length") ? value.number("max_length") : used,
    flags,
    fd: value.has("fd") ? value.signed("fd") : undefined,
    pageSize: value.has("page_size") ? value.number("page_size") : undefined,
    guestMemfd: memfd !== undefined && (value.signed(memfd) >= 0 || ((flags ?? 0) & GUEST_MEMFD_FLAG) !== 0),
  };
}

/** Reads regions, each once. */
class RegionReader {
  readonly #program: Program;
  readonly #blocks: readonly RamBlock[];
  readonly #regions = new Map<number, { value: Value; region: Region }>();

  constructor(program: Program, blocks: readonly RamBlock[]) {
    this.#program = program;
    this.#blocks = blocks;
  }

  async range(value: Value): Promise<FlatRange> {
    const address = value.number("mr");
    const known = this.#regions.get(address);
    const region = known ?? (await this.#readRegion(value));
    this.#regions.set(address, region);
    const start = value.number("addr.start");
    const size = value.number("addr.size");
    const offsetInRegion = value.number("offset_in_region");
    const found = region.region.ram ? await this.#host(region.value) : undefined;
    if (!Number.isSafeInteger(start + size)) {
      throw this.#program.error(QEMU_CORE_RULES.flatView, `${value.what} goes beyond any address`);
    }
    if (found !== undefined) {
      const end = found.offset + offsetInRegion + size;
      if (end > Math.max(found.block.usedLength, found.block.maxLength)) {
        const text = `${value.what} goes 0x${(end - found.block.maxLength).toString(16)} bytes beyond the end of RAM block '${found.block.id}'`;
        throw this.#program.error(QEMU_CORE_RULES.rangeBounds, text);
      }
    }
    return {
      start,
      size,
      offsetInRegion,
      region: region.region,
      readonly: value.flag("readonly"),
      nonvolatile: value.flag("nonvolatile"),
      ram:
        found === undefined
          ? undefined
          : { host: found.block.host + found.offset + offsetInRegion, block: found.block },
    };
  }

  async #readRegion(range: Value): Promise<{ value: Value; region: Region }> {
    const value = await range.follow("mr");
    if (value === undefined)
      throw this.#program.error(QEMU_CORE_RULES.flatView, `${range.what} has no region`);
    const region: Region = {
      address: value.address,
      name: value.has("name") ? await value.textAt("name") : undefined,
      ram: value.flag("ram"),
      // skip_dump from 2.2 to 2.7, ram_device since 2.8
      ramDevice: value.flag("ram_device") || value.flag("skip_dump"),
      nonvolatile: value.flag("nonvolatile"),
      readonly: value.flag("readonly"),
      romd: value.flag("rom_device") && (value.flag("romd_mode") || value.flag("readable")),
      priority: value.has("priority") ? value.signed("priority") : 0,
      owner: value.numberOr0("owner"),
      discardManager: value.numberOr0("rdm"),
    };
    return { value, region };
  }

  /** The block of a region and where in it the region begins. */
  async #host(region: Value): Promise<{ block: RamBlock; offset: number }> {
    let value = region;
    let offset = 0;
    for (let i = 0; i < MOST_ALIASES; i += 1) {
      const alias = await value.follow("alias");
      if (alias === undefined) return this.#block(value, offset);
      offset += value.number("alias_offset");
      value = alias;
    }
    throw this.#program.error(QEMU_CORE_RULES.aliasLoop, `the aliases of ${region.what} lead nowhere`);
  }

  #block(value: Value, offset: number): { block: RamBlock; offset: number } {
    const hex = (n: number): string => `0x${n.toString(16)}`;
    // a pointer since 2.6, an offset in the space of all blocks before
    if (value.has("ram_block")) {
      const address = value.number("ram_block");
      const block = this.#blocks.find((candidate) => candidate.address === address);
      if (block !== undefined) return { block, offset };
      throw this.#program.error(
        QEMU_CORE_RULES.ramBlock,
        `${value.what} names RAM block ${hex(address)}, which is in no list`,
      );
    }
    const ramAddress = value.number("ram_addr");
    const at = ramAddress - (ramAddress % OFFSET_MASK);
    const block = this.#blocks.find((b) => b.offset <= at && at < b.offset + b.maxLength);
    if (block !== undefined) return { block, offset: offset + (at - block.offset) };
    throw this.#program.error(
      QEMU_CORE_RULES.ramBlock,
      `${value.what} is at ${hex(at)}, which is in no RAM block`,
    );
  }
}

/** Whether a range is guest memory by the rule of QEMU's own dumps. */
export function isGuestMemory(range: FlatRange, excludeNonvolatile = false): boolean {
  const { ram, ramDevice, nonvolatile } = range.region;
  return ram && !ramDevice && !nonvolatile && !(excludeNonvolatile && range.nonvolatile);
}

/** A run of guest memory contiguous for the guest and for the host. */
export interface GuestBlock {
  readonly start: number;
  readonly end: number;
  readonly host: number;
}

/** Joins ranges as QEMU's gdb script does; `step` is called for each range and the number of blocks after it. */
export function joinRanges(
  ranges: readonly FlatRange[],
  step: (range: FlatRange, joined: boolean, count: number) => void = () => undefined,
): GuestBlock[] {
  const blocks: { start: number; end: number; host: number }[] = [];
  for (const range of ranges) {
    if (range.ram === undefined) continue;
    const { host } = range.ram;
    const last = blocks.at(-1);
    const joined =
      last !== undefined && last.end === range.start && last.host + (last.end - last.start) === host;
    if (joined) last.end = range.start + range.size;
    else blocks.push({ start: range.start, end: range.start + range.size, host });
    step(range, joined, blocks.length);
  }
  return blocks;
}
