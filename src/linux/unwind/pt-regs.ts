import { viewOf } from "../../binary/layout.js";
import type { Aarch64Registers, X86Registers } from "../../guest/vcpu.js";
import type { FrameRegisters } from "./frame.js";

/** `struct pt_regs` of x86_64, a word each in this order (Linux, arch/x86/include/asm/ptrace.h). */
const X86 = [
  "r15",
  "r14",
  "r13",
  "r12",
  "rbp",
  "rbx",
  "r11",
  "r10",
  "r9",
  "r8",
  "rax",
  "rcx",
  "rdx",
  "rsi",
  "rdi",
  "orig_rax",
  "rip",
  "cs",
  "rflags",
  "rsp",
  "ss",
] as const;

/** Bytes of x86_64's `pt_regs`. */
export const X86_PT_REGS = X86.length * 8;
/** Bytes in it before what the CPU itself pushes: `rip`, `cs`, `rflags`, `rsp`, `ss`. */
const X86_IRET_OFFSET = X86.indexOf("rip") * 8;
export const X86_IRET = X86_PT_REGS - X86_IRET_OFFSET;

/** Registers out of the bytes of a `pt_regs`, or of its end that the CPU pushed. */
export function x86PtRegs(bytes: Uint8Array): FrameRegisters {
  const view = viewOf(bytes);
  const names = X86.slice(X86.length - bytes.length / 8);
  const registers = names.map((name, i): [string, bigint] => {
    const value = view.getBigUint64(i * 8, true);
    // newer CPUs keep flags of their own above the selectors
    return [name, name === "cs" || name === "ss" ? value & 0xffffn : value];
  });
  return Object.fromEntries(registers);
}

/** Registers of a running vCPU as a frame shows them. */
export function x86VcpuRegisters({ general, segments }: X86Registers): FrameRegisters {
  const selector = (name: "cs" | "ss"): FrameRegisters => {
    const segment = segments[name];
    return segment === undefined ? {} : { [name]: BigInt(segment.selector) };
  };
  return { ...general, ...selector("cs"), ...selector("ss") };
}

/** Words of `struct user_pt_regs` of aarch64: x0 … x30, sp, pc, pstate. */
const ARM64_WORDS = 34;
/** Bytes of the part of aarch64's `pt_regs` that holds registers. */
export const ARM64_REGISTERS = ARM64_WORDS * 8;

/** Registers out of the bytes of an aarch64 `pt_regs`. */
export function arm64PtRegs(bytes: Uint8Array): FrameRegisters {
  const view = viewOf(bytes);
  const names = [...Array.from({ length: 31 }, (_, i) => `x${i}`), "sp", "pc", "pstate"];
  return Object.fromEntries(names.map((name, i): [string, bigint] => [name, view.getBigUint64(i * 8, true)]));
}

/** Registers of a running vCPU as a frame shows them. */
export function arm64VcpuRegisters({ x, sp, pc, pstate }: Aarch64Registers): FrameRegisters {
  return { ...Object.fromEntries(x.map((value, i): [string, bigint] => [`x${i}`, value])), sp, pc, pstate };
}
