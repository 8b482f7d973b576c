import type { AbsentReason } from "../../../guest/absent.js";
import { AddressMap } from "./address-map.js";
import { pciConfig } from "../devices/pci.js";
import type { RomControl } from "../../machines.js";
import { NAMELESS, type RamBlock } from "../ram/blocks.js";
import type { QevmStream } from "../stream.js";

const ROM_OR_RAM: AbsentReason = {
  kind: "no-address",
  text: "ROM or RAM: the chipset's registers are not in the file",
};

const NAME_LOST: AbsentReason = {
  kind: "damaged",
  text: "ROM: the name of its block is lost",
};

const FOUR_GIB = 2 ** 32;
/** Old BIOS area: option ROMs, then the BIOS. */
const SHADOW = { start: 0xc0000, bios: 0xe0000, end: 0x100000 };

/** ROMs at the top of 4 GiB and, where the PAM registers say so, below 1 MiB; without control ROM always shows. */
export function showRoms(map: AddressMap, stream: QevmStream, control: RomControl | undefined): void {
  const block = (name: string): RamBlock | undefined => stream.ram?.blocks.find((one) => one.name === name);
  const start = (one: RamBlock): number => one.firstFrame * stream.pageSize;
  const bios = block("pc.bios");
  if (bios !== undefined) map.show(FOUR_GIB - bios.length, FOUR_GIB, start(bios));
  const roms = new AddressMap();
  const options = block("pc.rom");
  if (options !== undefined)
    roms.show(SHADOW.start, Math.min(SHADOW.end, SHADOW.start + options.length), start(options));
  const low = block("isa-bios") ?? bios;
  if (low !== undefined) {
    const shown = Math.min(low.length, SHADOW.end - SHADOW.bios);
    roms.show(SHADOW.end - shown, SHADOW.end, start(low) + low.length - shown);
  }
  // which of the blocks without a name it is can't be told
  const isLost = stream.ram?.blocks.some(({ name }) => name.startsWith(NAMELESS)) === true;
  if (isLost && options === undefined) roms.unknown(SHADOW.start, SHADOW.bios, NAME_LOST);
  if (isLost && low === undefined) roms.unknown(SHADOW.bios, SHADOW.end, NAME_LOST);
  const registers = control === undefined ? new Uint8Array(7) : pamOf(stream, control);
  for (const rom of roms.mappings) {
    if (registers === undefined) {
      map.unknown(rom.start, rom.end, ROM_OR_RAM);
      continue;
    }
    for (let at = rom.start; at < rom.end; ) {
      const area = areaOf(at);
      const end = Math.min(rom.end, area.end);
      const register = registers[area.register] ?? 0;
      const isRom = ((area.upper ? register >> 4 : register) & 1) === 0;
      if (isRom && rom.at === undefined) map.unknown(at, end, rom.reason ?? NAME_LOST);
      else if (isRom && rom.at !== undefined) map.show(at, end, rom.at + (at - rom.start));
      at = end;
    }
  }
}

function pamOf(stream: QevmStream, { chipset, pam }: RomControl): Uint8Array | undefined {
  const device = stream.devices.find(({ name }) => name === chipset);
  const config = device === undefined ? undefined : pciConfig(device);
  return config?.subarray(pam, pam + 7);
}

/** The PAM area around an address from c0000 on: its register, which half of it, where it ends. */
function areaOf(address: number): { register: number; upper: boolean; end: number } {
  if (address >= 0xf0000) return { register: 0, upper: true, end: SHADOW.end };
  const index = Math.floor((address - SHADOW.start) / 0x4000);
  return { register: 1 + (index >> 1), upper: index % 2 === 1, end: SHADOW.start + (index + 1) * 0x4000 };
}
