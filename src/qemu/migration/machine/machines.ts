import { AARCH64 } from "../../../guest/arch/arm.js";
import type { Architecture } from "../../../guest/arch/architecture.js";
import { PPC64 } from "../../../guest/arch/ppc64.js";
import { RISCV64 } from "../../../guest/arch/riscv64.js";
import { S390X } from "../../../guest/arch/s390x.js";
import { X86_64 } from "../../../guest/arch/x86.js";
import type { RomControl } from "./roms.js";
import type { QevmStream } from "../stream.js";

export type MachineKind =
  | "pc"
  | "q35"
  | "microvm"
  | "isapc"
  | "virt"
  | "sbsa-ref"
  | "pseries"
  | "powernv"
  | "s390-ccw-virtio"
  | "riscv-virt"
  | "unknown";

/** What is known of a machine's memory besides what its stream says. */
export interface Machine {
  readonly kind: MachineKind;
  /** Machine types of this kind; without them the block's name decides. */
  readonly names?: RegExp;
  /** Block of the machine's own RAM, where no memory backend was given. */
  readonly ram: string;
  /** Guest-physical address of RAM. */
  readonly start: number;
  readonly arch: Architecture;
  /** Blocks beside RAM that are guest memory at addresses of the machine's own. */
  readonly fixed?: readonly { readonly block: string; readonly start: number }[];
  /** PC machines part RAM at 4 GiB: from `from` bytes on, `to` of them are below, unless the clock's CMOS says otherwise. */
  readonly split?: { readonly from: number; readonly to: number };
  /** PC machines show their firmware at the top of 4 GiB and below 1 MiB: always, or as the chipset says. */
  readonly roms?: "always" | RomControl;
}

const GIB = 2 ** 30;

const MACHINES: readonly Machine[] = [
  {
    kind: "pc",
    names: /^pc(-i440fx-.*|-[01]\..*)?$/,
    ram: "pc.ram",
    start: 0,
    arch: X86_64,
    split: { from: 0xe000_0000, to: 0xc000_0000 },
    roms: { chipset: "I440FX", pam: 0x59 },
  },
  {
    kind: "q35",
    names: /^(pc-)?q35(-|$)/,
    ram: "pc.ram",
    start: 0,
    arch: X86_64,
    split: { from: 0xb000_0000, to: 0x8000_0000 },
    roms: { chipset: "mch", pam: 0x90 },
  },
  {
    kind: "microvm",
    names: /^microvm$/,
    ram: "microvm.ram",
    start: 0,
    arch: X86_64,
    split: { from: 0xc000_0000, to: 0xc000_0000 },
    roms: "always",
  },
  {
    kind: "isapc",
    names: /^isapc$/,
    ram: "pc.ram",
    start: 0,
    arch: X86_64,
    split: { from: 0xe000_0000, to: 0xe000_0000 },
    roms: "always",
  },
  { kind: "virt", names: /^virt-(\d|rhel)/, ram: "mach-virt.ram", start: GIB, arch: AARCH64 },
  { kind: "sbsa-ref", names: /^sbsa-ref$/, ram: "sbsa-ref.ram", start: 1024 * GIB, arch: AARCH64 },
  { kind: "pseries", names: /^pseries/, ram: "ppc_spapr.ram", start: 0, arch: PPC64 },
  { kind: "powernv", names: /^powernv/, ram: "pnv.ram", start: 0, arch: PPC64 },
  { kind: "s390-ccw-virtio", names: /^s390-ccw-virtio/, ram: "s390.ram", start: 0, arch: S390X },
  {
    kind: "riscv-virt",
    ram: "riscv_virt_board.ram",
    start: 2 * GIB,
    arch: RISCV64,
    fixed: [{ block: "riscv_virt_board.mrom", start: 0x1000 }],
  },
];

/** A stream's machine: by its chipset, its name, or the name of its RAM. @param named as the domain's XML says */
export function machineOf(stream: QevmStream, named: string | undefined): Machine | undefined {
  const name = stream.configuration.machine ?? named ?? "";
  const byChipset = MACHINES.find(({ roms }) => {
    const chipset = typeof roms === "object" ? roms.chipset : undefined;
    return chipset !== undefined && stream.sections.some((section) => section.name.endsWith(`/${chipset}`));
  });
  return (
    byChipset ??
    MACHINES.find(({ names }) => names?.test(name) === true) ??
    MACHINES.find(({ ram, split }) => split === undefined && hasBlock(stream, ram))
  );
}

function hasBlock(stream: QevmStream, name: string): boolean {
  return stream.ram?.blocks.some((block) => block.name === name) === true;
}
