import { AbsentError, FormatError } from "../../io/errors.js";
import type { Kernel } from "../kernel.js";
import { readU64 } from "../read.js";
import { findMember } from "../types.js";
import type { StackKind } from "./frame.js";

/** Memory [low, high) of one stack. */
export interface StackSpan {
  readonly kind: StackKind;
  readonly low: bigint;
  readonly high: bigint;
}

/** Bytes of a task's stack where nothing says otherwise: x86_64, and aarch64 with pages of 4 and 16 KiB. */
const THREAD_SIZE = 16384n;
const PAGE = 4096n;
/** Stacks have at most this many bytes: kernels with KASAN double them. */
const LARGEST = 1n << 20n;

/** The span of a task's stack, from its `task_struct` and the area that was allocated for it. */
export async function taskStack(kernel: Kernel, task: bigint): Promise<StackSpan | undefined> {
  const object = await kernel.load("task_struct", task);
  if (!object.has("stack")) return undefined;
  const low = object.pointer("stack");
  if (low === 0n) return undefined;
  return {
    kind: "task",
    low,
    high: low + (await areaSize(kernel, object.has("stack_vm_area") ? object.pointer("stack_vm_area") : 0n)),
  };
}

async function areaSize(kernel: Kernel, area: bigint): Promise<bigint> {
  const size = kernel.hasStruct("vm_struct") ? findMember(kernel.struct("vm_struct"), "size") : undefined;
  if (area === 0n || size === undefined) return THREAD_SIZE;
  const value = await readU64(kernel.space, area + BigInt(size.bitOffset >>> 3));
  // a page that nothing is mapped to guards it
  const span = value === undefined ? 0n : value - PAGE;
  return span >= THREAD_SIZE && span <= LARGEST && (span & (span - 1n)) === 0n ? span : THREAD_SIZE;
}

/** Stacks that a CPU switches to in interrupts and exceptions; those not found are left out. */
export async function cpuStacks(kernel: Kernel, cpu: number): Promise<StackSpan[]> {
  const name = kernel.arch.name;
  if (name === "x86_64")
    return [...(await some(() => x86Irq(kernel, cpu))), ...(await some(() => x86Entry(kernel, cpu)))];
  if (name === "aarch64") return some(() => arm64Stacks(kernel, cpu));
  return [];
}

async function some(get: () => Promise<StackSpan[]>): Promise<StackSpan[]> {
  try {
    return await get();
  } catch (error) {
    if (error instanceof AbsentError || error instanceof FormatError) return [];
    throw error;
  }
}

/** The pointer in a per-CPU variable. */
async function perCpuPointer(kernel: Kernel, name: string, cpu: number): Promise<bigint | undefined> {
  if (kernel.symbol(name) === undefined) return undefined;
  return readU64(kernel.space, await kernel.perCpuAddress(name, cpu));
}

const IRQ_STACK = 16384n;

/** The interrupt stack of x86_64; its pointer is of the last word on it. */
async function x86Irq(kernel: Kernel, cpu: number): Promise<StackSpan[]> {
  let top =
    (await perCpuPointer(kernel, "hardirq_stack_ptr", cpu)) ??
    (await perCpuPointer(kernel, "irq_stack_ptr", cpu));
  if (top === undefined && kernel.symbol("pcpu_hot") !== undefined) {
    const member = findMember(kernel.struct("pcpu_hot"), "hardirq_stack_ptr");
    if (member !== undefined)
      top = await readU64(
        kernel.space,
        (await kernel.perCpuAddress("pcpu_hot", cpu)) + BigInt(member.bitOffset >>> 3),
      );
  }
  if (top === undefined || top === 0n) return [];
  const high = ((top + 15n) / PAGE) * PAGE === top + 8n ? top + 8n : top;
  return [{ kind: "irq", low: high - IRQ_STACK, high }];
}

const EXCEPTIONS: readonly (readonly [string, StackKind])[] = [
  ["DF_stack", "#DF"],
  ["NMI_stack", "NMI"],
  ["DB_stack", "#DB"],
  ["MCE_stack", "#MC"],
  ["VC_stack", "#VC"],
  ["VC2_stack", "#VC2"],
];

/** Stacks of exceptions and of entries from user mode on x86_64, in the CPU's entry area (since Linux 5.2). */
async function x86Entry(kernel: Kernel, cpu: number): Promise<StackSpan[]> {
  const stacks = await perCpuPointer(kernel, "cea_exception_stacks", cpu);
  if (stacks === undefined || stacks === 0n) return [];
  const spans: StackSpan[] = [];
  const type = kernel.struct("cea_exception_stacks");
  for (const [name, kind] of EXCEPTIONS) {
    const member = findMember(type, name);
    if (member === undefined || member.type.size === 0) continue;
    const low = stacks + BigInt(member.bitOffset >>> 3);
    spans.push({ kind, low, high: low + BigInt(member.type.size) });
  }
  const area = kernel.hasStruct("cpu_entry_area") ? kernel.struct("cpu_entry_area") : undefined;
  const inside = area === undefined ? undefined : findMember(area, "estacks");
  const entry = area === undefined ? undefined : findMember(area, "entry_stack_page");
  if (inside !== undefined && entry !== undefined) {
    const low = stacks - BigInt(inside.bitOffset >>> 3) + BigInt(entry.bitOffset >>> 3);
    spans.push({ kind: "entry", low, high: low + BigInt(entry.type.size) });
  }
  return spans;
}

/** The interrupt and overflow stacks of aarch64. */
async function arm64Stacks(kernel: Kernel, cpu: number): Promise<StackSpan[]> {
  const spans: StackSpan[] = [];
  const irq = await perCpuPointer(kernel, "irq_stack_ptr", cpu);
  if (irq !== undefined && irq !== 0n) spans.push({ kind: "irq", low: irq, high: irq + IRQ_STACK });
  if (kernel.symbol("overflow_stack") !== undefined) {
    const low = await kernel.perCpuAddress("overflow_stack", cpu);
    spans.push({ kind: "overflow", low, high: low + PAGE });
  }
  return spans;
}
