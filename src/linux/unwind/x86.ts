import type { Kernel } from "../kernel.js";
import { damaged, absent, hex } from "../rules.js";
import type { FrameRegisters, StackFrame } from "./frame.js";
import type { OrcEntry, OrcRegister } from "./orc.js";
import { X86_IRET, X86_PT_REGS, x86PtRegs } from "./pt-regs.js";
import { STACK_RULES } from "./rules.js";
import type { StackWalk } from "./stack-walk.js";

/** Where a walk is: the registers of one frame, as far as they are known. */
export interface X86State {
  readonly pc: bigint;
  readonly sp: bigint;
  readonly bp: bigint;
  /** `pc` is the next instruction of interrupted code, not what a call returns to. */
  readonly interrupted: boolean;
  /** The frame's registers, where an interrupt kept them. */
  readonly registers?: FrameRegisters;
  /** All registers that were kept last, if nothing has been called since. */
  readonly known?: FrameRegisters;
}

/** Unwind entries by address of code, see OrcTables. */
export interface OrcLookUp {
  find(address: bigint): Promise<OrcEntry | undefined>;
}

/** Replaces a tracer's address by the return address it took the place of. */
export type Recover = (address: bigint, slot: bigint) => Promise<bigint>;

/** A frame's place in code: a call's return address belongs to the call before it. */
export function placeOf(kernel: Kernel, pc: bigint, interrupted: boolean): Pick<StackFrame, "place"> {
  const place = kernel.place(interrupted ? pc : pc - 1n);
  if (place === undefined) return {};
  return { place: interrupted ? place : { ...place, offset: place.offset + 1 } };
}

/** Page that user mode calls in the kernel's half of memory. */
const VSYSCALL = 0xffff_ffff_ff60_0000n;

/** Whether registers that an entry kept are user mode's. A PV guest's kernel runs in ring 3 too, in its own half of memory. */
export function isUser(registers: FrameRegisters): boolean {
  const { cs = 0n, rip = 0n } = registers;
  return (cs & 3n) === 3n && (rip >> 63n === 0n || rip >> 12n === VSYSCALL >> 12n);
}

/** How code without an own entry at address 0 is left: a call through a null pointer pushed its return address alone. */
const NULL_CALL: OrcEntry = {
  sp: "sp",
  spOffset: 8,
  bp: "undefined",
  bpOffset: 0,
  type: "call",
  signal: false,
};

/**
 * One step of the kernel's own ORC unwinder (Linux, arch/x86/kernel/unwind_orc.c): the caller's frame, or the one
 * that was interrupted. Undefined at the end of the stack.
 * @throws AbsentError, FormatError `linux/stack/…` where it can't be found
 */
export async function stepX86(
  tables: OrcLookUp,
  stack: StackWalk,
  state: X86State,
  offsetFirst: boolean,
  recover: Recover,
): Promise<X86State | undefined> {
  if (state.registers !== undefined && isUser(state.registers)) return undefined;
  const at = state.interrupted ? state.pc : state.pc - 1n;
  const entry = state.pc === 0n ? NULL_CALL : await tables.find(at);
  if (entry === undefined) {
    throw absent(STACK_RULES.noEntry, `no unwind table describes the code at ${hex(state.pc)}`);
  }
  if (entry.type === "end") return undefined;
  if (entry.type === "undefined") {
    throw absent(STACK_RULES.noEntry, `the unwind tables say nothing of the code at ${hex(state.pc)}`);
  }
  const sp = await previousSp(stack, state, entry, offsetFirst);
  const next = await found(stack, state, entry, sp, recover);
  stack.step(state.sp, next.sp);
  return { ...next, bp: await previousBp(stack, state, entry, sp, next) };
}

async function previousSp(
  stack: StackWalk,
  state: X86State,
  entry: OrcEntry,
  offsetFirst: boolean,
): Promise<bigint> {
  const offset = BigInt(entry.spOffset);
  const add = (base: bigint): bigint => BigInt.asUintN(64, base + offset);
  switch (entry.sp) {
    case "sp":
      return add(state.sp);
    case "bp":
      return add(state.bp);
    case "spIndirect":
      return offsetFirst ? stack.word(add(state.sp)) : add(await stack.word(state.sp));
    case "bpIndirect":
      return stack.word(add(state.bp));
    case "ax":
    case "dx":
    case "di":
    case "r10":
    case "r13":
      return register(state, entry.sp);
    case "undefined":
    case "prevSp":
    case "unknown":
      throw damaged(STACK_RULES.badTables, `the unwind entry for ${hex(state.pc)} counts from no register`);
  }
}

function register(state: X86State, name: OrcRegister): bigint {
  const full = name.length === 2 ? `r${name}` : name;
  const value = state.known?.[full];
  if (value !== undefined) return value;
  throw absent(
    STACK_RULES.registers,
    `the frame before ${hex(state.pc)} is found through ${full}, which is not known`,
  );
}

/** The frame whose return address or registers are at `sp`. */
async function found(
  stack: StackWalk,
  state: X86State,
  entry: OrcEntry,
  sp: bigint,
  recover: Recover,
): Promise<X86State> {
  const { bp, known } = state;
  const interrupted = entry.signal;
  switch (entry.type) {
    case "call": {
      const slot = sp - 8n;
      const pc = await recover(await stack.word(slot), slot);
      return { pc, sp, bp, interrupted };
    }
    case "regs": {
      const registers = x86PtRegs(await stack.bytes(sp, X86_PT_REGS));
      const { rip = 0n, rsp = 0n } = registers;
      return { pc: rip, sp: rsp, bp, interrupted, registers, known: registers };
    }
    case "partial": {
      const registers = x86PtRegs(await stack.bytes(sp, X86_IRET));
      const { rip = 0n, rsp = 0n } = registers;
      return { pc: rip, sp: rsp, bp, interrupted, registers, ...(known === undefined ? {} : { known }) };
    }
    case "undefined":
    case "end":
    case "unknown":
      throw damaged(STACK_RULES.badTables, `the unwind entry for ${hex(state.pc)} is of no known type`);
  }
}

async function previousBp(
  stack: StackWalk,
  state: X86State,
  entry: OrcEntry,
  sp: bigint,
  next: X86State,
): Promise<bigint> {
  const at = (base: bigint): Promise<bigint> => stack.word(BigInt.asUintN(64, base + BigInt(entry.bpOffset)));
  switch (entry.bp) {
    case "undefined":
      return next.known?.rbp ?? state.bp;
    case "prevSp":
      return at(sp);
    case "bp":
      return at(state.bp);
    default:
      throw damaged(
        STACK_RULES.badTables,
        `the unwind entry for ${hex(state.pc)} finds bp through no known register`,
      );
  }
}
