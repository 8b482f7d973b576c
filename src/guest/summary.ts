import { GuestscopeError } from "../findings/errors.js";
import type { AbsentReason, AbsentSummary } from "./absent.js";
import type { GuestImage, UnplacedBlock } from "./image.js";
import type { GuestIdentity, MemorySummary } from "./inspection.js";
import { withChosenVmcoreInfo } from "./kernel/chosen-vmcoreinfo.js";
import { type Software, softwareOf } from "./kernel/software.js";
import type { OpenOptions } from "./options.js";
import { memoryTotals, type PhysicalMemory } from "./memory.js";
import { summarizeVcpu, type VcpuSummary } from "./vcpu.js";

/** Regions listed at most: a filtered dump may have hundreds of thousands. */
const MOST_REGIONS = 256;
const UNTOLD: AbsentReason = { kind: "not-saved", text: "not in the input" };

/** The part of an inspection that every guest has, whatever file it came from. */
export interface GuestSummary {
  readonly origin: string;
  readonly guest: GuestIdentity;
  readonly memory: MemorySummary;
  readonly vcpus: readonly VcpuSummary[];
  readonly software?: Software | undefined;
  readonly warnings: readonly string[];
}

/** Summarises a guest: who it is, its memory by regions, its vCPUs and what it was running. */
export async function summarizeGuest(opened: GuestImage, options: OpenOptions = {}): Promise<GuestSummary> {
  const guest = await withChosenVmcoreInfo(opened, options.vmcoreInfo);
  const { facts, arch } = guest;
  const warnings = [...guest.warnings];
  let software: Software | undefined;
  try {
    software = await softwareOf(guest, options);
  } catch (error) {
    // damaged pages: the rest is worth showing
    if (!(error instanceof GuestscopeError)) throw error;
    warnings.push(error.message);
  }
  return {
    origin: facts.origin,
    guest: {
      name: facts.name,
      uuid: facts.uuid,
      arch: arch.name,
      hypervisor: facts.hypervisor,
      type: facts.guestType,
    },
    memory: summarizeMemory(guest.memory, guest.unplaced),
    vcpus: guest.vcpus.map(summarizeVcpu),
    software,
    warnings,
  };
}

/** Memory by regions (as it is, joined whatever its presence) and what is absent of it by reason, blocks without an address among it. */
export function summarizeMemory(
  memory: PhysicalMemory,
  unplaced: readonly UnplacedBlock[] = [],
): MemorySummary {
  const regions: { start: number; end: number }[] = [];
  let leftOut = 0;
  let last: { start: number; end: number } | undefined;
  const missing = new Map<string, AbsentSummary & { bytes: number }>();
  const lacks = (reason: AbsentReason, bytes: number): void => {
    const key = `${reason.kind} ${reason.text}`;
    const known = missing.get(key);
    if (known === undefined) missing.set(key, { ...reason, bytes });
    else known.bytes += bytes;
  };
  for (const { start, end, presence, reason = UNTOLD } of memory.ranges()) {
    if (presence === "absent") {
      lacks(reason, end - start);
      // the guest has no memory there
      if (reason.kind === "unpopulated") continue;
    }
    if (last?.end === start) {
      last.end = end;
      continue;
    }
    last = { start, end };
    if (regions.length < MOST_REGIONS) regions.push(last);
    else leftOut += 1;
  }
  const totals = memoryTotals(memory);
  for (const { reason, size } of unplaced) lacks(reason, size);
  const absent = unplaced.reduce((sum, { size }) => sum + size, totals.absent);
  return { ...totals, absent, regions, regionsLeftOut: leftOut, missing: [...missing.values()] };
}
