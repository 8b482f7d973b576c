import { AbsentError, UsageError } from "../findings/errors.js";
import { PAGE_SIZE } from "../guest/memory.js";
import type { SearchPiece } from "../guest/search.js";
import type { Where } from "../guest/where.js";
import type { AddressSpace, MappedRun } from "./address-space.js";
import type { Kernel } from "./kernel.js";
import { absent, LINUX_RULES } from "./rules.js";
import { listTasks, type Task } from "./tasks.js";
import { mappedRanges } from "./user-mappings.js";

/** The process or thread of a number. @throws UsageError when the guest has none, AbsentError when it can't be known */
export async function taskOf(kernel: Kernel, pid: number): Promise<Task> {
  for await (const task of listTasks(kernel, { threads: true })) if (task.pid === pid) return task;
  throw new UsageError(`the guest has no process ${pid}`, { source: kernel.guest.facts.source });
}

/** Virtual memory of a process. @throws AbsentError where it has none, or its page tables are not in the input */
export async function spaceOf(kernel: Kernel, task: Task): Promise<AddressSpace> {
  if (task.mm === 0n)
    throw absent(LINUX_RULES.memory, `process ${task.pid} (${task.comm}) has no memory of its own`);
  const mm = await kernel.load("mm_struct", task.mm);
  return kernel.processSpace(mm.pointer("pgd"));
}

/** The virtual address of a place. @throws AbsentError when the kernel has no such symbol */
export function addressOfPlace(kernel: Kernel, where: Where): bigint {
  return where.kind === "symbol"
    ? BigInt.asUintN(64, kernel.needSymbol(where.symbol) + where.address)
    : where.address;
}

/** Whether an error says no more than that the guest's kernel isn't known: what needs none goes on without. */
export function isUnknownKernel(error: unknown): boolean {
  return (
    error instanceof AbsentError &&
    (error.rule === LINUX_RULES.noVmcoreInfo || error.rule === LINUX_RULES.architecture)
  );
}

/** User addresses end here in every layout of page tables that is read. */
const USER_END = 1n << 56n;
/** Addresses of one mapping that are looked at: a damaged one may claim more. */
const MOST_MAPPED = 1n << 44n;
const BLOCK = 256 << 10;

/**
 * What a process has mapped, in runs that are contiguous in physical memory, ascending by virtual address.
 *
 * @param steps as for `AddressSpace.mapped`
 */
export async function* mappedRuns(
  kernel: Kernel,
  task: Task,
  steps?: { left: number },
): AsyncGenerator<MappedRun, void, undefined> {
  const space = await spaceOf(kernel, task);
  let last = 0n;
  for await (const { start, end } of mappedRanges(kernel, task.mm)) {
    if (start < last || end <= start || end > USER_END || end - start > MOST_MAPPED) continue;
    yield* space.mapped(start, end, steps);
    last = end;
  }
}

/** The same with its contents, as far as the input holds them. */
export async function* processPieces(
  kernel: Kernel,
  task: Task,
): AsyncGenerator<SearchPiece, void, undefined> {
  const block = new Uint8Array(BLOCK);
  for await (const { va, gpa, length } of mappedRuns(kernel, task)) {
    for (let done = 0; done < length; ) {
      const part = block.subarray(0, Math.min(BLOCK, length - done));
      const n = await kernel.guest.memory.read(gpa + done, part);
      if (n > 0) yield { address: va + BigInt(done), length: n, bytes: part.subarray(0, n) };
      // what is absent ends with its page
      done += n < part.length ? n - ((gpa + done + n) % PAGE_SIZE) + PAGE_SIZE : n;
    }
  }
}
