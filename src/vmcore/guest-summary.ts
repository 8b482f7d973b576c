import type { GuestImage } from "../guest/image.js";
import { type MemoryTotals, memoryTotals } from "../guest/memory.js";
import { type Software, softwareOf } from "../guest/kernel/software.js";
import type { Aarch64Registers, OtherRegisters, Vcpu, X86Registers } from "../guest/vcpu.js";
import { GuestscopeError } from "../io/errors.js";

/** Regions listed at most: a filtered dump may have hundreds of thousands. */
const MOST_REGIONS = 256;

/** A processor without raw areas and notes. */
export type VcpuSummary = Pick<Vcpu, "id" | "caveat"> & { readonly registers?: RegisterSummary };
type RegisterSummary = X86Registers | Aarch64Registers | Omit<OtherRegisters, "prstatus">;

function withoutNote(registers: NonNullable<Vcpu["registers"]>): RegisterSummary {
  if (registers.kind !== "other") return registers;
  const { prstatus: _note, ...rest } = registers;
  return rest;
}

/** The part of an inspection that is the same for every kind of vmcore. */
export interface GuestSummary {
  readonly arch: string;
  readonly origin: string;
  /** Bytes of each kind. */
  readonly memory: MemoryTotals;
  /** Memory that exists, whether its contents are here or not, as it lies; `regionsLeftOut` more follow. */
  readonly regions: readonly { readonly start: number; readonly end: number }[];
  readonly regionsLeftOut: number;
  /** Bytes that the input lacks, by reason. */
  readonly absent: readonly { readonly reason: string; readonly bytes: number }[];
  readonly vcpus: readonly VcpuSummary[];
  readonly software?: Software;
  /** VMCOREINFO's text. */
  readonly vmcoreInfo?: string;
  readonly warnings: readonly string[];
}

export async function summarizeGuest(guest: GuestImage): Promise<GuestSummary> {
  const regions: { start: number; end: number }[] = [];
  let leftOut = 0;
  let last: { start: number; end: number } | undefined;
  const absent = new Map<string, number>();
  for (const { start, end, presence, reason = "not in the input" } of guest.memory.ranges()) {
    if (presence === "absent") absent.set(reason, (absent.get(reason) ?? 0) + end - start);
    if (last?.end === start) {
      last.end = end;
      continue;
    }
    last = { start, end };
    if (regions.length < MOST_REGIONS) regions.push(last);
    else leftOut += 1;
  }
  const warnings = [...guest.warnings];
  let software: Software | undefined;
  try {
    software = await softwareOf(guest);
  } catch (error) {
    // damaged pages: the rest is worth showing
    if (!(error instanceof GuestscopeError)) throw error;
    warnings.push(error.message);
  }
  const text = guest.facts.vmcoreInfo?.text;
  return {
    arch: guest.arch.name,
    origin: guest.facts.origin,
    memory: memoryTotals(guest.memory),
    regions,
    regionsLeftOut: leftOut,
    absent: Array.from(absent, ([reason, bytes]) => ({ reason, bytes })),
    vcpus: guest.vcpus.map(({ id, registers, caveat }) => ({
      id,
      ...(registers === undefined ? {} : { registers: withoutNote(registers) }),
      ...(caveat === undefined ? {} : { caveat }),
    })),
    ...(software === undefined ? {} : { software }),
    ...(text === undefined ? {} : { vmcoreInfo: text }),
    warnings,
  };
}
