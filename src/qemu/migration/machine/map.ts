import { UsageError } from "../../../findings/errors.js";
import { absentReasons } from "../../../guest/absent.js";
import type { UnplacedBlock } from "../../../guest/image.js";
import type { BlockAddress } from "../../../guest/options.js";
import { readAcpiTables, sratMemory } from "./acpi-tables.js";
import { AddressMap } from "./address-map.js";
import { ramInCmos } from "./cmos.js";
import { isDeviceBlock, shownBlocks } from "../devices/device-memory.js";
import { type Machine, ramBelow } from "../../machines.js";
import { machineOf } from "./machines.js";
import type { Mapping } from "../ram/mapped-memory.js";
import { memoryDevices, type PlacedDevice, type PluggedMemory } from "./memory-devices.js";
import { orderOfNodes } from "./node-order.js";
import { NAMELESS, type RamBlock } from "../ram/blocks.js";
import { showRoms } from "./roms.js";
import type { QevmStream } from "../stream.js";

/** What a domain's description beside the stream says of its memory. */
export interface DomainMemory {
  readonly machine?: string;
  /** Bytes of each NUMA cell, in their order. */
  readonly cells?: readonly number[];
  /** Memory devices whose address is given there. */
  readonly devices?: readonly PlacedDevice[];
}

export interface MachineMap {
  readonly machine: Machine | undefined;
  readonly mappings: readonly Mapping[];
  /** RAM blocks in the order of their addresses. */
  readonly ram: readonly RamBlock[];
  /** RAM that the stream holds something of and whose place isn't known. */
  readonly unplaced: readonly UnplacedBlock[];
  /** Bytes of RAM below 4 GiB (PC machines). */
  readonly below?: number;
  /** How the order and the split were found, one phrase each. */
  readonly evidence: readonly string[];
  readonly warnings: readonly string[];
}

const { noAddress: NO_ADDRESS } = absentReasons({
  noAddress: { kind: "no-address", text: "the stream doesn't say where it is" },
});

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const FOUR_GIB = 4 * GIB;
const TIB = 1024 * GIB;
/** VGA's window to its memory, in front of RAM. */
const VGA_WINDOW = { start: 0xa0000, end: 0xc0000 };

/** ROM that RISC-V machines start from: guest memory in QEMU's own dumps. */
const MASK_ROM = ".mrom";

/** Blocks of devices that the guest sees through a device, if at all: tables of fw_cfg, ROMs, video memory. */
const isHidden = (name: string): boolean => name.startsWith("/rom@") || isDeviceBlock(name);

/** Blocks that are no RAM a machine was given: firmware, what devices keep. */
const NOT_RAM =
  /^(pc\.rom|pc\.bios|isa-bios|vga\.(vram|rom)|tpm-(ppi|crb-cmd)|.*\.(rom|bios|mrom|secure-ram)|.*\.flash\d*)$/;

function isRamBlock(name: string): boolean {
  return name.startsWith("/objects/") || (!name.includes("/") && !NOT_RAM.test(name) && !isDeviceBlock(name));
}

/**
 * Lays a stream's blocks out at guest-physical addresses, by what the stream holds.
 * @param placed Addresses of blocks whose place it doesn't hold.
 * @throws UsageError naming what must be given when the order of blocks is not certain.
 */
export async function mapMachine(
  stream: QevmStream,
  domain: DomainMemory,
  placed: readonly BlockAddress[],
): Promise<MachineMap> {
  return new MachineMapper(stream, domain).run(placed);
}

class MachineMapper {
  readonly #stream: QevmStream;
  readonly #domain: DomainMemory;
  readonly #machine: Machine | undefined;
  readonly #blocks: readonly RamBlock[];
  readonly #map = new AddressMap();
  readonly #evidence: string[] = [];
  readonly #warnings: string[] = [];
  /** Blocks that have a place, or are known to be shown nowhere now. */
  readonly #known = new Set<RamBlock>();
  #below = Number.POSITIVE_INFINITY;

  constructor(stream: QevmStream, domain: DomainMemory) {
    this.#stream = stream;
    this.#domain = domain;
    this.#machine = machineOf(stream, domain.machine);
    this.#blocks = stream.ram?.blocks ?? [];
  }

  async run(placed: readonly BlockAddress[]): Promise<MachineMap> {
    const machine = this.#machine;
    const given = placed.map((one) => this.#given(one));
    const tables = await readAcpiTables(this.#stream);
    const plugged = memoryDevices(
      this.#blocks.filter(({ name }) => isRamBlock(name) || name.includes("/")),
      this.#stream.devices,
      tables,
      this.#domain.devices ?? [],
    ).filter(({ block }) => !given.some((one) => one.block === block));
    const ramBlocks = this.#blocks.filter(
      (block) => isRamBlock(block.name) && !plugged.some((one) => one.block === block),
    );
    const built = this.#hasPlaces(ramBlocks)
      ? ramBlocks
      : ramBlocks.filter(({ name }) => name === machine?.ram);
    const size = machine?.split === undefined ? undefined : this.#split(machine.split, built);
    const left = built.filter((block) => !given.some((one) => one.block === block));
    const ram = await this.#inOrder(left, size, given.length > 0, tables);
    for (const one of plugged) this.#plug(one);
    for (const { block, address } of given) {
      const low = Math.min(block.length, Math.max(1, this.#below - address));
      if (this.#map.isTaken(address, address + low))
        throw this.#refuse({ block: block.name, address }, "another block is there");
      this.#place(block, address);
    }
    if (given.length > 0) this.#evidence.push("addresses as given");
    this.#leftOut(left, ram, tables);
    if (machine?.roms !== undefined)
      showRoms(this.#map, this.#stream, machine.roms === "always" ? undefined : machine.roms);
    if (machine?.split !== undefined) this.#deviceMemory();
    for (const { block, start } of machine?.fixed ?? []) {
      const found = this.#blocks.find(({ name }) => name === block);
      if (found !== undefined) this.#place(found, start);
    }
    return {
      machine,
      mappings: this.#map.mappings,
      ram: [...ram, ...given.sort((a, b) => a.address - b.address).map(({ block }) => block)],
      unplaced: this.#unplaced(),
      ...(Number.isFinite(this.#below) ? { below: this.#below } : {}),
      evidence: this.#evidence,
      warnings: this.#warnings,
    };
  }

  /** Blocks that may be RAM, have no place, and of which something was sent or is kept elsewhere. */
  #unplaced(): UnplacedBlock[] {
    const { pages, pageSize, configuration } = this.#stream;
    const isShared = configuration.capabilities.includes("x-ignore-shared");
    return this.#blocks.flatMap((block): UnplacedBlock[] => {
      const { name } = block;
      const isOther = name.endsWith(MASK_ROM) || (name.includes("/") && !isHidden(name));
      if (this.#known.has(block) || !(isRamBlock(name) || isOther)) return [];
      const { present = 0, zero = 0, lost = 0 } = pages.get(block) ?? {};
      const size = isShared ? block.length : (present + zero + lost) * pageSize;
      return size === 0 ? [] : [{ name, size, reason: NO_ADDRESS }];
    });
  }

  #place(block: RamBlock, address: number): void {
    this.#known.add(block);
    const at = block.firstFrame * this.#stream.pageSize;
    const low = Math.max(0, Math.min(block.length, this.#below - address));
    if (address < this.#below) {
      this.#map.show(address, address + low, at);
      if (low < block.length) this.#map.show(FOUR_GIB, FOUR_GIB + block.length - low, at + low);
    } else this.#map.show(address, address + block.length, at);
  }

  #plug({ block, address, parts, evidence }: PluggedMemory): void {
    const at = block.firstFrame * this.#stream.pageSize;
    if (this.#map.isTaken(address, address + block.length)) {
      this.#warnings.push(`block '${block.name}': its address belongs to other memory; it is left out`);
      return;
    }
    this.#known.add(block);
    for (const { start, end } of parts ?? [{ start: 0, end: block.length }])
      this.#map.show(address + start, address + end, at + start);
    this.#evidence.push(evidence);
  }

  #given(placed: BlockAddress): { block: RamBlock; address: number } {
    const { block: name, address } = placed;
    if (!Number.isSafeInteger(address) || address < 0 || address % this.#stream.pageSize !== 0)
      throw this.#refuse(placed, `the address must be a multiple of a page (${this.#stream.pageSize} bytes)`);
    const block = this.#blocks.find((one) => one.name === name);
    if (block === undefined)
      throw this.#refuse(
        placed,
        `there is no such block, only ${this.#blocks.map((one) => one.name).join(", ")}`,
      );
    return { block, address };
  }

  #refuse({ block, address }: BlockAddress, message: string): UsageError {
    return new UsageError(`RAM block '${block}' at 0x${address.toString(16)}: ${message}`, {
      source: this.#stream.source,
    });
  }

  /**
   * Places the RAM that the machine was built with and returns its blocks in order. Blocks it can't place are
   * asked for, or left out where the options have placed some.
   */
  async #inOrder(
    left: readonly RamBlock[],
    size: number | undefined,
    isGiven: boolean,
    tables: Uint8Array | undefined,
  ): Promise<readonly RamBlock[]> {
    const machine = this.#machine;
    if (left.length === 0) {
      if (this.#blocks.length > 0 && !isGiven)
        this.#warnings.push("none of the blocks is known as RAM: their addresses must be given");
      return [];
    }
    const own = left.filter(({ name }) => name === machine?.ram);
    if (own.length === 0 && isGiven && (size === undefined || size !== totalSize(left))) return [];
    if (machine === undefined) {
      const name = this.#stream.configuration.machine;
      throw this.#ask(
        left,
        name === undefined
          ? "the stream doesn't name its machine"
          : `the memory map of machine '${name}' is not known`,
      );
    }
    const ram = own.length > 0 ? own : await this.#nodes(left, size, tables);
    let address = machine.start;
    for (const block of ram) {
      this.#place(block, address < this.#below ? address : FOUR_GIB + address - this.#below);
      address += block.length;
    }
    if (Number.isFinite(this.#below) && FOUR_GIB + address - this.#below > TIB - 12 * GIB)
      this.#warnings.push(
        "more than 1 TiB of RAM: a machine with an AMD CPU may have it at 1 TiB instead of 4 GiB",
      );
    return ram;
  }

  /** Memory backends in the place of the machine's own block, in the order of its nodes. */
  async #nodes(
    left: readonly RamBlock[],
    size: number | undefined,
    tables: Uint8Array | undefined,
  ): Promise<readonly RamBlock[]> {
    const found = await orderOfNodes(this.#stream, left, {
      cells: this.#domain.cells,
      below: this.#below,
      size,
      tables,
    });
    if (found !== undefined) {
      if (found.evidence !== undefined) this.#evidence.push(found.evidence);
      return found.order;
    }
    if (size !== undefined && totalSize(left) !== size)
      throw this.#ask(
        left,
        `blocks of ${totalSize(left)} bytes don't make up the machine's ${size} bytes of RAM`,
      );
    throw this.#ask(left, "the order of the memory backends is not in the stream");
  }

  #leftOut(left: readonly RamBlock[], ram: readonly RamBlock[], tables: Uint8Array | undefined): void {
    const room = tables === undefined ? undefined : sratMemory(tables).find((one) => one.forHotPlug);
    const hint =
      room === undefined ? "" : ` (this machine plugs memory from 0x${room.start.toString(16)} on)`;
    for (const block of left)
      if (!ram.includes(block))
        this.#warnings.push(
          `block '${block.name}' has no address in the stream and is left out unless one is given${hint}`,
        );
  }

  #ask(blocks: readonly RamBlock[], why: string): UsageError {
    const names = blocks.map(({ name }) => name);
    return new UsageError(
      `${why}: give the addresses of ${names.join(", ")}, or take blocks one after another`,
      { source: this.#stream.source },
      { option: "map", value: `${names[0] ?? "BLOCK"}@ADDRESS`, effect: "says where a block is" },
    );
  }

  /**
   * RAM below 4 GiB, from the clock's CMOS; else by the machine type's rule, with a warning.
   * Returns the bytes that the machine counts as its RAM, where the stream says.
   */
  #split(rule: NonNullable<Machine["split"]>, built: readonly RamBlock[]): number | undefined {
    const own = built.filter(({ name }) => name === this.#machine?.ram);
    const total = totalSize(own.length > 0 ? own : built);
    const cmos = ramInCmos(this.#stream.devices);
    if (cmos !== undefined) {
      const { above, below } = cmos;
      // the bytes count up to 1 TiB and start again
      if (below <= FOUR_GIB && (below + above) % TIB === total % TIB) {
        this.#below = below;
        this.#evidence.push("split at 4 GiB from the CMOS");
        return total;
      }
      // some of several backends are the machine's RAM: these bytes tell which may be
      if (own.length === 0 && built.length > 1 && below + above < total) {
        this.#below = below;
        this.#evidence.push("split at 4 GiB from the CMOS");
        return below + above;
      }
    }
    this.#below = ramBelow(rule, total);
    this.#warnings.push(
      `how RAM is split at 4 GiB is not in the stream: 0x${this.#below.toString(16)} bytes below, as ${this.#machine?.kind ?? ""} machines have it by default`,
    );
    return undefined;
  }

  /** Whether blocks can be placed: with one whose name is lost among them only if all are as large as RAM is. */
  #hasPlaces(blocks: readonly RamBlock[]): boolean {
    const isNameless = ({ name }: RamBlock): boolean => name === NAMELESS;
    if (!this.#blocks.some(isNameless)) return true;
    const cmos = ramInCmos(this.#stream.devices);
    if (cmos === undefined || blocks.length > 1) return false;
    const { below, above } = cmos;
    if (below + above !== totalSize(blocks)) return false;
    if (blocks.some(isNameless))
      this.#evidence.push("the block whose name is lost is as large as the CMOS says that RAM is");
    return true;
  }

  /** What PCI devices show of blocks of theirs, and the VGA window in front of RAM. */
  #deviceMemory(): void {
    const { pageSize, devices, sections } = this.#stream;
    const isVga = /(^|\/)([a-z]+[-_])?vga$|\/qxl$/i;
    if (
      sections.some(({ name }) => isVga.test(name)) ||
      this.#blocks.some(({ name }) => name.endsWith("vga.vram"))
    )
      this.#map.clear(VGA_WINDOW.start, VGA_WINDOW.end);
    for (const { block, address } of shownBlocks(this.#blocks, devices)) {
      if (address === undefined) {
        if (this.#stream.description !== undefined)
          this.#warnings.push(`block '${block.name}': the stream lacks its device; it is left out`);
      } else if (address % pageSize !== 0 || this.#map.isTaken(address, address + block.length))
        this.#warnings.push(`block '${block.name}': its BAR points into other memory; it is left out`);
      else this.#map.show(address, address + block.length, block.firstFrame * pageSize);
    }
  }
}

function totalSize(blocks: readonly RamBlock[]): number {
  return blocks.reduce((sum, { length }) => sum + length, 0);
}
