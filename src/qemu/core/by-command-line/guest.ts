import type { GuestImage } from "../../../guest/image.js";
import type { OpenOptions } from "../../../guest/options.js";
import { summarizeGuest } from "../../../guest/summary.js";
import type { FlatRangeEntry, QemuCoreInspection } from "../inspect.js";
import type { LaidOutState } from "./state.js";

/** The guest of a QEMU process that was laid out by its command line: without vCPUs. */
export function guestOfLayout(state: LaidOutState, origin: string): GuestImage {
  const { asked, arch, memory, proof, unplaced, warnings, process } = state;
  return {
    arch,
    memory,
    vcpus: [],
    warnings,
    facts: {
      origin,
      source: process.memory.name,
      hypervisor: "QEMU",
      guestType: asked.type,
      ...(proof.vmcoreInfo === undefined ? {} : { vmcoreInfo: proof.vmcoreInfo }),
      ...(proof.kernelLayout === undefined ? {} : { kernelLayout: proof.kernelLayout }),
      specific: {
        kind: "qemu-process",
        accelerator: asked.accelerator,
        ramSize: asked.size,
        dumpGuestCore: asked.dumpGuestCore,
      },
      more: { addressesProvenBy: proof.agrees },
    },
    blocks: asked.blocks.map(({ name, size }) => ({ name, size })),
    ...(unplaced.length === 0 ? {} : { unplaced }),
  };
}

/** Describes a QEMU process that was laid out by its command line. */
export async function inspectLayout(
  state: LaidOutState,
  what: "core" | "process",
  options: OpenOptions,
): Promise<QemuCoreInspection> {
  const { asked, ranges, image, process, proof } = state;
  const guest = guestOfLayout(state, what === "core" ? "QEMU process core" : "running QEMU process");
  return {
    schemaVersion: 2,
    kind: "qemu-core",
    source: process.memory.name,
    ...(await summarizeGuest(guest, options)),
    damage: [],
    details: {
      what,
      program: { path: image.path, buildId: image.buildId },
      qemuVersion: undefined,
      machine: asked.type,
      accelerator: asked.accelerator,
      ramSize: asked.size,
      dumpGuestCore: asked.dumpGuestCore,
      layoutBy: "command-line",
      provenBy: proof.agrees,
      flatView: ranges.map(
        ({ start, end, mapped, offset }): FlatRangeEntry => ({
          start,
          end,
          priority: undefined,
          type: "ram",
          name: mapped.block.name,
          offsetInRegion: offset,
          host: mapped.host + offset,
          dumped: true,
        }),
      ),
      ramBlocks: ranges
        .filter(({ offset }) => offset === 0)
        .map(({ mapped: { block, host } }) => ({
          address: undefined,
          id: block.name,
          host,
          offset: undefined,
          usedLength: block.size,
          maxLength: block.size,
          flags: undefined,
          fd: undefined,
          pageSize: undefined,
          guestMemfd: undefined,
        })),
      missing: [...guest.memory.ranges()].filter(({ presence }) => presence === "absent"),
    },
  };
}
