import { AARCH64 } from "../guest/arch/arm.js";
import type { Architecture } from "../guest/arch/architecture.js";
import { PPC64 } from "../guest/arch/ppc64.js";
import { RISCV64 } from "../guest/arch/riscv64.js";
import { S390X } from "../guest/arch/s390x.js";
import { X86_64 } from "../guest/arch/x86.js";

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

/** How a chipset says whether ROM or RAM shows in the BIOS area. */
export interface RomControl {
  /** Name of the chipset's device state. */
  readonly chipset: string;
  /** First of its seven PAM registers. */
  readonly pam: number;
}

/** What is known of a kind of machine's memory: the same for all versions of its type. */
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
  /** Emulator whose machine of the kind's plain name (`virt`) it is. */
  readonly emulator?: string;
  /**
   * PC machines part RAM at 4 GiB: from `from` bytes on, `to` of them are below. `limit`: max-ram-below-4g takes the
   * place of `from`, or only makes less of what is below.
   */
  readonly split?: { readonly from: number; readonly to: number; readonly limit?: "threshold" | "most" };
  /** PC machines show their firmware at the top of 4 GiB and below 1 MiB: always, or as the chipset says. */
  readonly roms?: "always" | RomControl;
}

const GIB = 2 ** 30;

/** Kinds of machines whose memory map is known. */
export const MACHINES: readonly Machine[] = [
  {
    kind: "pc",
    names: /^pc(-i440fx-.*|-[01]\..*)?$/,
    ram: "pc.ram",
    start: 0,
    arch: X86_64,
    split: { from: 0xe000_0000, to: 0xc000_0000, limit: "threshold" },
    roms: { chipset: "I440FX", pam: 0x59 },
  },
  {
    kind: "q35",
    names: /^(pc-)?q35(-|$)/,
    ram: "pc.ram",
    start: 0,
    arch: X86_64,
    split: { from: 0xb000_0000, to: 0x8000_0000, limit: "most" },
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
    split: { from: 0xe000_0000, to: 0xe000_0000, limit: "threshold" },
    roms: "always",
  },
  {
    kind: "virt",
    names: /^virt-(\d|rhel)/,
    emulator: "aarch64",
    ram: "mach-virt.ram",
    start: GIB,
    arch: AARCH64,
  },
  { kind: "sbsa-ref", names: /^sbsa-ref$/, ram: "sbsa-ref.ram", start: 1024 * GIB, arch: AARCH64 },
  { kind: "pseries", names: /^pseries/, ram: "ppc_spapr.ram", start: 0, arch: PPC64 },
  { kind: "powernv", names: /^powernv/, ram: "pnv.ram", start: 0, arch: PPC64 },
  { kind: "s390-ccw-virtio", names: /^s390-ccw-virtio/, ram: "s390.ram", start: 0, arch: S390X },
  {
    kind: "riscv-virt",
    emulator: "riscv64",
    ram: "riscv_virt_board.ram",
    start: 2 * GIB,
    arch: RISCV64,
    fixed: [{ block: "riscv_virt_board.mrom", start: 0x1000 }],
  },
];

/** The kind of machine that a type names (`pc-q35-7.2`), for the emulator of a target (`x86_64`) where types share a name. */
export function machineNamed(type: string, emulator?: string): Machine | undefined {
  return (
    MACHINES.find(({ names }) => names?.test(type) === true) ??
    (type === "virt" && emulator !== undefined
      ? MACHINES.find((machine) => machine.emulator === emulator)
      : undefined)
  );
}

/**
 * Bytes of RAM below 4 GiB of a machine that parts it there; the rest begins at 4 GiB.
 * @param size of all its RAM
 * @param limit as max-ram-below-4g says
 */
export function ramBelow(
  { from, to, limit: rule }: NonNullable<Machine["split"]>,
  size: number,
  limit?: number,
): number {
  if (rule === "threshold") {
    const threshold = limit ?? from;
    return size >= threshold ? Math.min(threshold, to) : size;
  }
  const most = size >= from ? to : from;
  return Math.min(size, rule === "most" ? Math.min(most, limit ?? most) : most);
}
