import type { PhysicalMemory } from "./memory.js";
import { pagingOf, readVirtual } from "./paging/walk.js";
import type { X86Registers } from "./vcpu.js";

/** Bytes of code around a vCPU's instruction pointer. */
export interface CodeWindow {
  /** Linear address of the first byte. */
  readonly address: bigint;
  readonly bytes: Uint8Array;
  /** Where in `bytes` the next instruction begins. */
  readonly at: number;
}

const BEFORE = 21;
const BEHIND = 11;
const PROTECTED = 1n;
const SEGMENT_L = 1 << 21;

/** The code a vCPU was executing, through its own page tables; undefined where that is not in the source. */
export async function codeAround(
  memory: PhysicalMemory,
  registers: X86Registers,
): Promise<CodeWindow | undefined> {
  const paging = pagingOf(registers);
  const { cs } = registers.segments;
  const flat = cs === undefined || (paging.mode === "long" && (cs.flags & SEGMENT_L) !== 0);
  const realMode = ((registers.control.cr0 ?? PROTECTED) & PROTECTED) === 0n;
  const offset = realMode ? registers.general.rip & 0xffffn : registers.general.rip;
  const rip = flat ? offset : cs.base + offset;
  const after = new Uint8Array(BEHIND);
  const n = await readVirtual(memory, paging, rip, after);
  if (n === 0) return undefined;
  const back = rip < BigInt(BEFORE) ? Number(rip) : BEFORE;
  const before = new Uint8Array(back);
  const whole = (await readVirtual(memory, paging, rip - BigInt(back), before)) === back;
  const kept = whole ? before : before.subarray(0, 0);
  const bytes = new Uint8Array(kept.length + n);
  bytes.set(kept);
  bytes.set(after.subarray(0, n), kept.length);
  return { address: rip - BigInt(kept.length), bytes, at: kept.length };
}
