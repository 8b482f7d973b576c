import type { GuestImage } from "../guest/image.js";
import type { SearchPiece } from "../guest/search.js";
import { physicalPieces } from "../guest/search.js";
import type { Kernel } from "../linux/kernel.js";
import { processPieces, taskOf } from "../linux/where.js";
import type { Task } from "../linux/tasks.js";

/** What `search` and `strings` go through: all physical memory, or what a process has mapped. */
export interface SearchedMemory {
  readonly pieces: AsyncIterable<SearchPiece>;
  /** The process, where one was asked for. */
  readonly task: Task | undefined;
}

/** @throws AbsentError, UsageError where there is no such process */
export async function searchedMemory(
  guest: GuestImage,
  pid: number | undefined,
  openKernel: () => Promise<Kernel>,
): Promise<SearchedMemory> {
  if (pid === undefined) return { pieces: physicalPieces(guest.memory), task: undefined };
  const kernel = await openKernel();
  const task = await taskOf(kernel, pid);
  return { pieces: processPieces(kernel, task), task };
}
