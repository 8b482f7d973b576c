import type { OpenOptions } from "../../guest/options.js";
import type { GuestInspection } from "../../guest/inspection.js";
import type { MemoryRange } from "../../guest/memory.js";
import { summarizeGuest } from "../../guest/summary.js";
import type { FlatRange, RamBlock } from "./flat-view.js";
import { guestOfQemu, type OpenedQemu } from "./guest.js";

/** One range of the flat view as `info mtree -f` shows it. */
export interface FlatRangeEntry {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Undefined where no debug information says. */
  readonly priority: number | undefined;
  /** `ram`, `rom`, `romd`, `ramd`, `i/o`; `nv-` in front of non-volatile ones. */
  readonly type: string;
  readonly name: string | undefined;
  readonly offsetInRegion: number;
  /** Host address; of RAM only. */
  readonly host: number | undefined;
  /** Whether dumps contain it. */
  readonly dumped: boolean;
}

/** A block of RAM; without debug information only its name, place and length are known. */
export interface RamBlockEntry extends Omit<RamBlock, "address" | "offset" | "guestMemfd"> {
  /** Host address of the RAMBlock structure. */
  readonly address: number | undefined;
  /** Offset in the space of all RAM blocks. */
  readonly offset: number | undefined;
  readonly guestMemfd: boolean | undefined;
}

/** The facts of a QEMU core (or a running QEMU) beside the guest's. */
export interface QemuCoreDetails {
  readonly what: "core" | "process";
  readonly program: { readonly path: string | undefined; readonly buildId: string | undefined };
  readonly qemuVersion: string | undefined;
  readonly machine: string | undefined;
  readonly accelerator: string | undefined;
  /** `-m`, bytes. */
  readonly ramSize: number | undefined;
  readonly dumpGuestCore: boolean | undefined;
  /** Where the memory map is from. */
  readonly layoutBy: "debug-info" | "command-line";
  /** What in guest memory agrees with a map by the command line, one phrase each; empty where the addresses were given. */
  readonly provenBy?: readonly string[];
  /** By the command line, RAM alone. */
  readonly flatView: readonly FlatRangeEntry[];
  readonly ramBlocks: readonly RamBlockEntry[];
  /** Guest memory whose contents are not there, by region and reason. */
  readonly missing: readonly MemoryRange[];
}

/** What `inspect` says of a QEMU core or a running QEMU. */
export type QemuCoreInspection = GuestInspection<"qemu-core", QemuCoreDetails>;

function typeOf(range: FlatRange): string {
  const { ram, ramDevice, romd, readonly } = range.region;
  const plain = ramDevice ? "ramd" : romd ? "romd" : ram && readonly ? "rom" : ram ? "ram" : "i/o";
  return `${range.nonvolatile ? "nv-" : ""}${range.readonly ? "rom" : plain}`;
}

/** Describes the guest in a QEMU process. */
export async function inspectQemu(
  state: OpenedQemu,
  what: "core" | "process",
  options: OpenOptions = {},
): Promise<QemuCoreInspection> {
  const guest = await guestOfQemu(
    state,
    what === "core" ? "QEMU process core" : "running QEMU process",
    options,
  );
  const { machine, view, image, program } = state;
  const dumped = new Set(state.selected);
  return {
    schemaVersion: 2,
    kind: "qemu-core",
    source: program.memory.name,
    ...(await summarizeGuest(guest, options)),
    damage: [],
    details: {
      what,
      program: { path: image.path, buildId: image.buildId },
      qemuVersion: machine.version,
      machine: machine.name,
      accelerator: machine.accelerator,
      ramSize: machine.ramSize,
      dumpGuestCore: machine.dumpGuestCore,
      layoutBy: "debug-info",
      flatView: view.ranges.map((range) => ({
        start: range.start,
        end: range.start + range.size,
        priority: range.region.priority,
        type: typeOf(range),
        name: range.region.name,
        offsetInRegion: range.offsetInRegion,
        host: range.ram?.host,
        dumped: dumped.has(range),
      })),
      ramBlocks: view.blocks,
      missing: [...guest.memory.ranges()].filter(({ presence }) => presence === "absent"),
    },
  };
}
