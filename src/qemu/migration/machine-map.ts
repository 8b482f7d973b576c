import { UsageError } from "../../io/errors.js";
import { AddressMap } from "./address-map.js";
import { bytesOf, type DeviceState, findField } from "./devices.js";
import type { Mapping } from "./mapped-memory.js";
import { orderOfNodes } from "./node-order.js";
import type { RamBlock } from "./ram.js";
import type { QevmStream } from "./stream.js";

export type MachineKind = "pc" | "q35" | "virt" | "unknown";

/** What a domain's description beside the stream says of its memory. */
export interface DomainMemory {
  readonly machine?: string;
  /** Octets of each NUMA cell, in their order. */
  readonly cells?: readonly number[];
}

export interface MachineMap {
  readonly kind: MachineKind;
  readonly mappings: readonly Mapping[];
  /** RAM blocks in the order of their addresses. */
  readonly ram: readonly RamBlock[];
  /** Octets of RAM below 4 GiB (pc, q35). */
  readonly below?: number;
  /** How the order and the split were found, one phrase each. */
  readonly evidence: readonly string[];
  readonly warnings: readonly string[];
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const FOUR_GIB = 4 * GIB;
const TIB = 1024 * GIB;
/** Where virt machines of aarch64 have their RAM. */
const VIRT_RAM = GIB;
/** Old BIOS area: option ROMs, then the BIOS. */
const SHADOW = { start: 0xc0000, bios: 0xe0000, end: 0x100000 };
/** VGA's window to its memory, in front of RAM. */
const VGA_WINDOW = { start: 0xa0000, end: 0xc0000 };

/** Blocks that are no RAM a machine was given: firmware, video memory, what devices keep. */
const NOT_RAM = /^(pc\.rom|pc\.bios|isa-bios|(virt|system)\.flash\d+|.*vram.*|.*\.rom|.*\.flash\d*)$/;

export function isRamBlock(name: string): boolean {
  return name.startsWith("/objects/") || (!name.includes("/") && !NOT_RAM.test(name));
}

/** Kind of machine: by the chipset among its devices, else by its name. */
export function machineKind(stream: QevmStream, machine: string | undefined): MachineKind {
  const has = (vmsd: string): boolean => stream.devices.some(({ name }) => name === vmsd);
  if (has("I440FX")) return "pc";
  if (has("mch")) return "q35";
  const name = stream.configuration.machine ?? machine ?? "";
  if (/^(pc-)?q35/.test(name)) return "q35";
  if (/^pc(-|$)/.test(name)) return "pc";
  return stream.ram?.blocks.some((block) => block.name === "mach-virt.ram") === true || has("arm_gic")
    ? "virt"
    : "unknown";
}

/**
 * Lays a stream's blocks out at guest-physical addresses, by what the stream holds.
 * @param placed `BLOCK@ADDRESS`, for blocks whose place it doesn't hold.
 * @throws UsageError naming what must be given when the order of blocks is not certain.
 */
export async function mapMachine(
  stream: QevmStream,
  domain: DomainMemory,
  placed: readonly string[],
): Promise<MachineMap> {
  const kind = machineKind(stream, domain.machine);
  return new MachineMapper(stream, domain, kind).run(placed);
}

class MachineMapper {
  readonly #stream: QevmStream;
  readonly #domain: DomainMemory;
  readonly #kind: MachineKind;
  readonly #blocks: readonly RamBlock[];
  readonly #map = new AddressMap();
  readonly #evidence: string[] = [];
  readonly #warnings: string[] = [];
  #below = Number.POSITIVE_INFINITY;

  constructor(stream: QevmStream, domain: DomainMemory, kind: MachineKind) {
    this.#stream = stream;
    this.#domain = domain;
    this.#kind = kind;
    this.#blocks = stream.ram?.blocks ?? [];
  }

  async run(placed: readonly string[]): Promise<MachineMap> {
    const candidates = this.#blocks.filter(({ name }) => isRamBlock(name));
    const isPc = this.#kind === "pc" || this.#kind === "q35";
    const size = isPc ? this.#split(candidates) : undefined;
    const ram = placed.length > 0 ? this.#asGiven(placed) : await this.#inOrder(candidates, size);
    if (isPc) {
      this.#shadow();
      this.#videoMemory();
    }
    return {
      kind: this.#kind,
      mappings: this.#map.mappings,
      ram,
      ...(Number.isFinite(this.#below) ? { below: this.#below } : {}),
      evidence: this.#evidence,
      warnings: this.#warnings,
    };
  }

  #place(block: RamBlock, address: number, offset = 0): void {
    const at = block.firstFrame * this.#stream.pageSize + offset;
    const length = block.length - offset;
    const low = Math.max(0, Math.min(length, this.#below - address));
    if (address < this.#below) {
      this.#map.show(address, address + low, at);
      if (low < length) this.#map.show(FOUR_GIB, FOUR_GIB + length - low, at + low);
    } else this.#map.show(address, address + length, at);
  }

  #asGiven(placed: readonly string[]): RamBlock[] {
    const given = placed.map((text) => {
      const at = text.lastIndexOf("@");
      const address = at < 1 || at === text.length - 1 ? Number.NaN : Number(text.slice(at + 1));
      if (!Number.isSafeInteger(address) || address < 0 || address % this.#stream.pageSize !== 0)
        throw new UsageError(`--map ${text}: BLOCK@ADDRESS is expected, the address a multiple of a page`);
      const name = text.slice(0, at);
      const block = this.#blocks.find((one) => one.name === name);
      if (block === undefined)
        throw new UsageError(
          `--map ${text}: there is no block '${name}', only ${this.#blocks.map((one) => one.name).join(", ")}`,
        );
      return { block, address };
    });
    for (const { block, address } of given) {
      if (this.#map.isTaken(address, address + Math.min(block.length, Math.max(1, this.#below - address))))
        throw new UsageError(`--map ${block.name}@0x${address.toString(16)}: another block lies there`);
      this.#place(block, address);
    }
    const left = this.#blocks.filter(
      ({ name }) => isRamBlock(name) && !given.some((g) => g.block.name === name),
    );
    for (const { name } of left) this.#warnings.push(`block '${name}' has no address: --map gives it one`);
    this.#evidence.push("addresses as --map gives them");
    return given.sort((a, b) => a.address - b.address).map(({ block }) => block);
  }

  async #inOrder(candidates: readonly RamBlock[], size: number | undefined): Promise<RamBlock[]> {
    if (candidates.length === 0) {
      if (this.#blocks.length > 0)
        this.#warnings.push("none of the blocks is known as RAM: --map gives addresses");
      return [];
    }
    if (this.#kind === "unknown")
      throw this.#ask(
        candidates,
        `the memory map of machine '${this.#stream.configuration.machine ?? ""}' is not known`,
      );
    const boot = candidates.filter(({ name }) => name === "pc.ram" || name === "mach-virt.ram");
    let ram = boot.length > 0 ? boot : [...candidates];
    const total = ram.reduce((sum, block) => sum + block.length, 0);
    if (size !== undefined && total !== size)
      throw this.#ask(
        candidates,
        `blocks of ${total} octets don't make up the machine's ${size} octets of RAM`,
      );
    if (ram.length > 1) {
      const found = await orderOfNodes(this.#stream, ram, this.#domain, this.#below);
      if (found === undefined) throw this.#ask(ram, "the order of the memory backends is not in the stream");
      ram = [...found.order];
      this.#evidence.push(found.evidence);
    }
    let address = this.#kind === "virt" ? VIRT_RAM : 0;
    for (const block of ram) {
      const inHigh = address >= this.#below;
      this.#place(block, inHigh ? FOUR_GIB + address - this.#below : address);
      address += block.length;
    }
    for (const { name } of candidates)
      if (!ram.some((block) => block.name === name))
        this.#warnings.push(
          `block '${name}' has no address in the stream and is left out: --map gives it one`,
        );
    if (FOUR_GIB + address - this.#below > TIB - 12 * GIB && Number.isFinite(this.#below))
      this.#warnings.push(
        "more than 1 TiB of RAM: a machine with an AMD processor may have it at 1 TiB instead of 4 GiB",
      );
    return ram;
  }

  #ask(blocks: readonly RamBlock[], why: string): UsageError {
    const example = blocks.map(({ name }) => `--map ${name}@ADDRESS`).join(" ");
    return new UsageError(
      `${why}: say where blocks lie (${example}), or take them as they are with --blocks`,
      {
        source: this.#stream.source,
      },
    );
  }

  /** RAM below 4 GiB, from the clock's CMOS; else by the machine type's rule, with a warning. Returns RAM in all. */
  #split(candidates: readonly RamBlock[]): number | undefined {
    const boot = candidates.filter(({ name }) => name === "pc.ram");
    const total = (boot.length > 0 ? boot : candidates).reduce((sum, block) => sum + block.length, 0);
    const clock = this.#stream.devices.find(({ name }) => name === "mc146818rtc");
    const field = clock === undefined ? undefined : findField(clock, ({ name }) => name === "cmos_data");
    const cmos = bytesOf(field?.value);
    if (cmos !== undefined && cmos.length >= 0x5e) {
      const word = (at: number): number => (cmos[at] ?? 0) | ((cmos[at + 1] ?? 0) << 8);
      const above = (word(0x5b) + (cmos[0x5d] ?? 0) * 0x10000) * 64 * KIB;
      const below = word(0x34) === 0 ? word(0x30) * KIB + MIB : word(0x34) * 64 * KIB + 16 * MIB;
      // the octets count up to 1 TiB and start again
      if (below <= FOUR_GIB && (below + above) % TIB === total % TIB) {
        this.#below = below;
        this.#evidence.push("split at 4 GiB from the CMOS");
        return total;
      }
      // memory of several backends: which of them the machine counts is decided by their order
      if (boot.length === 0 && candidates.length > 1) {
        this.#below = below;
        return below + above;
      }
    }
    const limit =
      this.#kind === "q35" ? { from: 0xb000_0000, to: 0x8000_0000 } : { from: 0xe000_0000, to: 0xc000_0000 };
    this.#below = total >= limit.from ? limit.to : total;
    this.#warnings.push(
      `how RAM is split at 4 GiB is not in the stream: 0x${this.#below.toString(16)} octets below, as ${this.#kind} machines have it by default`,
    );
    return undefined;
  }

  #block(name: string): RamBlock | undefined {
    return this.#blocks.find((block) => block.name === name);
  }

  /** ROMs at the top of 4 GiB and, where the PAM registers say so, below 1 MiB. */
  #shadow(): void {
    const { pageSize } = this.#stream;
    const start = (block: RamBlock): number => block.firstFrame * pageSize;
    const bios = this.#block("pc.bios");
    if (bios !== undefined) this.#map.show(FOUR_GIB - bios.length, FOUR_GIB, start(bios));
    const roms = new AddressMap();
    const options = this.#block("pc.rom");
    if (options !== undefined)
      roms.show(SHADOW.start, Math.min(SHADOW.end, SHADOW.start + options.length), start(options));
    const low = this.#block("isa-bios") ?? bios;
    if (low !== undefined) {
      const shown = Math.min(low.length, SHADOW.end - SHADOW.bios);
      roms.show(SHADOW.end - shown, SHADOW.end, start(low) + low.length - shown);
    }
    const registers = this.#pam();
    for (const rom of roms.mappings) {
      if (rom.at === undefined) continue;
      if (registers === undefined) {
        this.#map.unknown(rom.start, rom.end, "ROM or RAM: the chipset's registers are not in the file");
        continue;
      }
      for (let at = rom.start; at < rom.end; ) {
        const area = areaOf(at);
        const end = Math.min(rom.end, area.end);
        const register = registers[area.register] ?? 0;
        if (((area.upper ? register >> 4 : register) & 1) === 0)
          this.#map.show(at, end, rom.at + (at - rom.start));
        at = end;
      }
    }
  }

  /** The seven PAM registers. */
  #pam(): Uint8Array | undefined {
    const [chipset, first] = this.#kind === "q35" ? (["mch", 0x90] as const) : (["I440FX", 0x59] as const);
    const device = this.#stream.devices.find(({ name }) => name === chipset);
    const config = device === undefined ? undefined : pciConfig(device);
    return config?.subarray(first, first + 7);
  }

  /** Video memory at its BAR, and the VGA window in front of RAM. */
  #videoMemory(): void {
    const { pageSize, devices } = this.#stream;
    const cards = this.#blocks.filter(({ name }) => name.endsWith("vga.vram"));
    const isVga = /vga|qxl|cirrus/i;
    if (cards.length > 0 || devices.some(({ name }) => isVga.test(name)))
      this.#map.clear(VGA_WINDOW.start, VGA_WINDOW.end);
    for (const block of cards) {
      const slot = block.name.slice(0, -"vga.vram".length);
      const device = devices.find(({ section }) => slot !== "" && section.startsWith(slot));
      const config = device === undefined ? undefined : pciConfig(device);
      const address = config === undefined ? undefined : videoBar(config);
      if (address === undefined || address % pageSize !== 0) continue;
      if (this.#map.isTaken(address, address + block.length)) {
        this.#warnings.push(`block '${block.name}': its BAR points into other memory; it is left out`);
        continue;
      }
      const at = block.firstFrame * pageSize;
      this.#map.show(address, address + block.length, at);
    }
  }
}

/** The PAM area around an address from c0000 on: its register, which half of it, where it ends. */
function areaOf(address: number): { register: number; upper: boolean; end: number } {
  if (address >= 0xf0000) return { register: 0, upper: true, end: SHADOW.end };
  const index = Math.floor((address - SHADOW.start) / 0x4000);
  return { register: 1 + (index >> 1), upper: index % 2 === 1, end: SHADOW.start + (index + 1) * 0x4000 };
}

function pciConfig(device: DeviceState): Uint8Array | undefined {
  return bytesOf(findField(device, ({ type }) => type === "pci config")?.value);
}

/** Cards whose first BAR shows their memory from its start: standard VGA, Cirrus, virtio. */
const VIDEO_VENDORS = new Set([0x1234, 0x1013, 0x1af4]);

function videoBar(config: Uint8Array): number | undefined {
  if (config.length < 0x40) return undefined;
  const view = new DataView(config.buffer, config.byteOffset, config.length);
  const bar = view.getUint32(0x10, true);
  const decodesMemory = (view.getUint16(4, true) & 2) !== 0;
  if (!VIDEO_VENDORS.has(view.getUint16(0, true)) || !decodesMemory || (bar & 1) !== 0) return undefined;
  const high = (bar & 6) === 4 ? view.getUint32(0x14, true) : 0;
  const address = high * 0x1_0000_0000 + (bar - (bar & 0xf));
  return address > 0 && address < 2 ** 52 ? address : undefined;
}
