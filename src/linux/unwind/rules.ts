import { type Rule, rules } from "../../findings/finding.js";

const rule = (code: string, severity: Rule["severity"], spec: string, explanation: string): Rule => ({
  code: `linux/stack/${code}`,
  severity,
  spec,
  explanation,
});

const ORC = "Linux, arch/x86/kernel/unwind_orc.c";

/** What can end a kernel backtrace before the end of its stack. */
export const STACK_RULES = rules({
  noTables: rule(
    "no-tables",
    "error",
    ORC,
    "The kernel's unwind tables were not found: the kernel names no variables (built without CONFIG_KALLSYMS_ALL), or the pages that hold the tables are not in the input.",
  ),
  badTables: rule(
    "damaged-tables",
    "error",
    ORC,
    "The kernel's unwind tables contradict themselves: addresses in them don't ascend, or an entry is of no known form. Frames after this place can't be found.",
  ),
  noEntry: rule(
    "no-entry",
    "note",
    ORC,
    "Code that the unwind tables don't describe: assembly without annotations, a BPF program, a tracer's trampoline, or damage. Frames after this place can't be found.",
  ),
  registers: rule(
    "registers",
    "note",
    ORC,
    "The next frame is found through a register whose value at this place is not kept.",
  ),
  memory: rule(
    "memory",
    "error",
    "Linux, Documentation/arch/x86/kernel-stacks.rst",
    "The page of the stack is not in the input, or nothing is mapped there.",
  ),
  left: rule(
    "left",
    "error",
    "Linux, Documentation/arch/x86/kernel-stacks.rst",
    "The next frame would be on no stack of this task or its CPU, or on one that was left before: the stack is damaged, or it overflowed.",
  ),
  loop: rule(
    "loop",
    "error",
    "Linux, Documentation/arch/x86/kernel-stacks.rst",
    "The next frame is not further up the stack: the stack is damaged or was being changed.",
  ),
  tooLong: rule(
    "too-long",
    "warning",
    "guestscope",
    "The stack has more frames than any kernel stack can hold.",
  ),
  tracer: rule(
    "tracer",
    "note",
    "Linux, kernel/trace/fgraph.c, kernel/trace/rethook.c",
    "A tracer put its own address in the place of a return address, and the real one isn't in the task's list of them.",
  ),
  running: rule(
    "running",
    "note",
    "guestscope",
    "The task was running, and the input has no registers of the CPU it ran on. What its stack held when it last slept says nothing of it.",
  ),
  architecture: rule(
    "architecture",
    "error",
    "guestscope",
    "Kernel stacks are unwound on x86_64 and aarch64.",
  ),
});
