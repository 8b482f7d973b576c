import type { Recover, X86State } from "./x86.js";
import { isUser } from "./x86.js";
import { X86_PT_REGS, x86PtRegs } from "./pt-regs.js";
import type { StackSpan } from "./stacks.js";
import type { StackWalk } from "./stack-walk.js";

/**
 * One step of the frame-pointer unwinder, for kernels without ORC tables (Linux, arch/x86/kernel/unwind_frame.c): `bp`
 * points at the caller's, the return address is above it. An entry from an interrupt leaves the address of its
 * registers, marked by the lowest bit, in `bp`.
 */
export async function stepX86FramePointer(
  stack: StackWalk,
  state: X86State,
  task: StackSpan | undefined,
  recover: Recover,
): Promise<X86State | undefined> {
  if (state.registers !== undefined && isUser(state.registers)) return undefined;
  const { bp } = state;
  if (bp === 0n) return undefined;
  if ((bp & 1n) !== 0n) return registersAt(stack, state, bp - 1n);
  // a task's first frame is below the registers it entered the kernel with
  const entry = task === undefined ? undefined : task.high - BigInt(X86_PT_REGS);
  if (entry !== undefined && bp === entry - 16n) return registersAt(stack, state, entry);
  const next = await stack.word(bp);
  const pc = await recover(await stack.word(bp + 8n), bp + 8n);
  if (pc === 0n) return undefined;
  stack.step(state.sp, bp + 16n);
  return { pc, sp: bp + 16n, bp: next, interrupted: false };
}

async function registersAt(stack: StackWalk, state: X86State, at: bigint): Promise<X86State | undefined> {
  const registers = x86PtRegs(await stack.bytes(at, X86_PT_REGS));
  const { rip = 0n, rsp = 0n, rbp = 0n } = registers;
  // a kernel thread has such registers too, all zero
  if (rip === 0n) return undefined;
  stack.step(state.sp, rsp);
  return { pc: rip, sp: rsp, bp: rbp, interrupted: true, registers, known: registers };
}
