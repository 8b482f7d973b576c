import { viewOf } from "../../binary/layout.js";
import type { Kernel } from "../kernel.js";
import { damaged, hex } from "../rules.js";
import { findMember } from "../types.js";
import { type KernelCode, leafCaller } from "./aarch64-leaf.js";
import type { FrameRegisters } from "./frame.js";
import { ARM64_REGISTERS, arm64PtRegs } from "./pt-regs.js";
import { STACK_RULES } from "./rules.js";
import type { StackSpan } from "./stacks.js";
import type { StackWalk } from "./stack-walk.js";
import type { Recover } from "./x86.js";

/** Where a walk along frame records is. */
export interface Arm64State {
  readonly pc: bigint;
  readonly fp: bigint;
  readonly interrupted: boolean;
  readonly registers?: FrameRegisters;
}

/** What `struct pt_regs` of one kernel holds beside registers. */
export interface Arm64Frames {
  /** Bytes of `pt_regs`. */
  readonly size: number;
  /** Bytes from its start to the frame record in it. */
  readonly record: number;
  /** The record is followed by a word that says what it is (since Linux 6.14). */
  readonly hasMeta: boolean;
}

/** Kinds of records with two zero words: the last of a stack, and registers that an exception kept. */
const META = { final: 1n, registers: 2n } as const;

/** Where the frame record in `pt_regs` is; undefined for kernels before 4.15, which have none, or without types. */
export function arm64Frames(kernel: Kernel): Arm64Frames | undefined {
  if (!kernel.hasStruct("pt_regs")) return undefined;
  const type = kernel.struct("pt_regs");
  const member = findMember(type, "stackframe");
  if (member === undefined) return undefined;
  return {
    size: type.size,
    record: Math.floor(member.bitOffset / 8),
    hasMeta: kernel.hasStruct("frame_record_meta"),
  };
}

/** Whether registers are user mode's: exception level 0. */
export const isUserArm64 = ({ pstate = 0n }: FrameRegisters): boolean => (pstate & 0xfn) === 0n;

/**
 * One step along the frame records of aarch64 (Linux, arch/arm64/kernel/stacktrace.c): x29 points at the caller's x29
 * and the return address. Entries from exceptions put such a record into `pt_regs`. Undefined at the end.
 * @throws AbsentError, FormatError `linux/stack/…`
 */
export async function stepArm64(
  kernel: KernelCode,
  frames: Arm64Frames | undefined,
  stack: StackWalk,
  state: Arm64State,
  task: StackSpan | undefined,
  recover: Recover,
): Promise<Arm64State | undefined> {
  if (state.registers !== undefined && isUserArm64(state.registers)) return undefined;
  const { fp, registers: own } = state;
  if (own !== undefined) {
    const caller = await leafCaller(kernel, state.pc, own.x30 ?? 0n);
    if (caller !== undefined) return { pc: caller, fp, interrupted: false };
  }
  if (fp === 0n) return undefined;
  if ((fp & 7n) !== 0n)
    throw damaged(STACK_RULES.loop, `the frame pointer ${hex(fp)} is not that of a frame`);
  const record = viewOf(await stack.bytes(fp, 16));
  const next = record.getBigUint64(0, true);
  const link = record.getBigUint64(8, true);
  // the record in the registers that the task entered the kernel with
  const last =
    task === undefined || frames === undefined
      ? undefined
      : task.high - BigInt(frames.size) + BigInt(frames.record);
  if (next === 0n && link === 0n) {
    if (frames?.hasMeta === true && (await stack.word(fp + 16n)) === META.registers)
      return registersAt(stack, fp - BigInt(frames.record));
    return frames !== undefined && fp === last ? registersAt(stack, fp - BigInt(frames.record)) : undefined;
  }
  if (frames !== undefined && (fp === last || (await isException(stack, frames, fp, next, link)))) {
    return registersAt(stack, fp - BigInt(frames.record));
  }
  if (link === 0n) return undefined;
  if (next !== 0n) stack.step(fp, next);
  const pc = kernel.stripPac(await recover(kernel.stripPac(link), fp));
  return { pc, fp: next, interrupted: false };
}

/** Whether a record is the one in registers that an exception kept: it repeats two of them. */
async function isException(
  stack: StackWalk,
  frames: Arm64Frames,
  fp: bigint,
  next: bigint,
  link: bigint,
): Promise<boolean> {
  if (frames.hasMeta) return false;
  const at = fp - BigInt(frames.record);
  const span = stack.spanOf(fp);
  if (span !== undefined && (at < span.low || at + BigInt(frames.size) > span.high)) return false;
  const { x29, pc } = arm64PtRegs(await stack.bytes(at, ARM64_REGISTERS));
  return x29 === next && pc === link;
}

async function registersAt(stack: StackWalk, at: bigint): Promise<Arm64State | undefined> {
  const registers = arm64PtRegs(await stack.bytes(at, ARM64_REGISTERS));
  const { pc = 0n, x29 = 0n } = registers;
  // a kernel thread has such registers too, with nothing in them
  if (pc === 0n) return undefined;
  const isKernel = !isUserArm64(registers);
  if (isKernel && x29 !== 0n) stack.step(at, x29);
  return { pc, fp: isKernel ? x29 : 0n, interrupted: true, registers };
}
