import { viewOf } from "../../binary/layout.js";
import type { MaybePromise } from "../../io/byte-source.js";
import type { GuestImage } from "../image.js";
import { x86TopTable } from "../kernel/kernel-layout.js";
import { withKernelLayout } from "../kernel/with-kernel-layout.js";
import { type MemoryPiece, type MemoryRange, PAGE_SIZE, type PhysicalMemory } from "../memory.js";
import { pvContext64 } from "../pv-context.js";
import type { Vcpu } from "../vcpu.js";
import { machineFrames } from "./machine-frames.js";

/**
 * PV guests whose page tables hold machine frames, as `xl dump-core` leaves them, with tables and cr3 rewritten to the
 * guest's own frames (pseudo-physical, as a saved stream has them): what readers of ELF vmcores and kdumps understand.
 */

const ENTRIES = PAGE_SIZE / 8;
const PRESENT = 1n;
const LARGE = 1n << 7n;
const FRAME = 0xf_ffff_ffff_f000n;
const TOP = 4;
/** Entries of a top table that belong to the hypervisor (Xen, public/arch-x86/xen-x86_64.h). */
const XEN_FIRST = 256;
const XEN_LAST = 271;
/** The last entry of a top table is the same for all that a kernel made: its image, or for user mode the vsyscall page. */
const LAST_ENTRY = (ENTRIES - 1) * 8;
/** Place of the user-mode cr3 among the control registers of a context. */
const USER_CR3 = 1;

/** The guest with page tables and cr3 of its own frames; the guest itself where it has them already. */
export async function pseudoPhysical(guest: GuestImage): Promise<GuestImage> {
  if (guest.machineFrame === undefined || guest.arch.name !== "x86_64") return guest;
  const ownFrame = machineFrames(guest);
  const tables = await findTables(guest, ownFrame);
  const { machineFrame: _, ...rest } = guest;
  return withKernelLayout({
    ...rest,
    memory: new RewrittenMemory(guest.memory, tables, ownFrame),
    vcpus: guest.vcpus.map((vcpu) => withOwnCr3(vcpu, ownFrame)),
    ...(guest.close === undefined ? {} : { close: async () => guest.close?.() }),
  });
}

function frameOf(entry: bigint): number {
  return Number((entry & FRAME) >> 12n);
}

function withOwnCr3(vcpu: Vcpu, ownFrame: (machine: number) => number | undefined): Vcpu {
  const { registers } = vcpu;
  if (registers?.kind !== "x86" || registers.control.cr3 === undefined) return vcpu;
  const { cr3 } = registers.control;
  const own = ownFrame(frameOf(cr3));
  if (own === undefined) return vcpu;
  const control = { ...registers.control, cr3: (BigInt(own) << 12n) | (cr3 & 0xfffn) };
  return { ...vcpu, registers: { ...registers, control } };
}

/** Levels of page tables by frame: all that the kernel's, the vCPUs' and each process's top table lead to. */
async function findTables(
  guest: GuestImage,
  ownFrame: (machine: number) => number | undefined,
): Promise<ReadonlyMap<number, number>> {
  const { memory } = guest;
  const roots = new Set<number>();
  const kernel = guest.facts.vmcoreInfo && x86TopTable(guest.facts.vmcoreInfo.text);
  if (kernel !== undefined) roots.add(kernel / PAGE_SIZE);
  for (const machine of guest.vcpus.flatMap(topTables)) {
    const own = ownFrame(machine);
    if (own !== undefined) roots.add(own);
  }
  for (const frame of await alike(memory, roots)) roots.add(frame);
  const levels = new Map<number, number>();
  const waiting: [number, number][] = [...roots].map((frame) => [frame, TOP]);
  const table = new Uint8Array(PAGE_SIZE);
  const view = viewOf(table);
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [frame, level] = next;
    // a page that is taken for a top table by mistake leads to real tables at too low a level
    if ((levels.get(frame) ?? 0) >= level) continue;
    if ((await memory.read(frame * PAGE_SIZE, table)) < PAGE_SIZE) continue;
    levels.set(frame, level);
    if (level === 1) continue;
    for (let i = 0; i < ENTRIES; i += 1) {
      if (level === TOP && i >= XEN_FIRST && i <= XEN_LAST) continue;
      const entry = view.getBigUint64(i * 8, true);
      if ((entry & PRESENT) === 0n || (level < TOP && (entry & LARGE) !== 0n)) continue;
      const own = ownFrame(frameOf(entry));
      if (own !== undefined && (levels.get(own) ?? 0) < level - 1) waiting.push([own, level - 1]);
    }
  }
  return levels;
}

/** Machine frames of the top tables that a vCPU's context names. */
function topTables({ raw, registers }: Vcpu): number[] {
  const found = registers?.kind === "x86" ? [frameOf(registers.control.cr3 ?? 0n)] : [];
  if (raw?.context?.length === pvContext64.size)
    found.push(frameOf(pvContext64.decode(raw.context, "little").control[USER_CR3] ?? 0n));
  return found;
}

/** Frames whose last entry is that of one of some top tables. */
async function alike(memory: PhysicalMemory, roots: ReadonlySet<number>): Promise<number[]> {
  const bytes = new Uint8Array(8);
  const view = viewOf(bytes);
  const last = new Set<bigint>();
  for (const frame of roots)
    if ((await memory.read(frame * PAGE_SIZE + LAST_ENTRY, bytes)) === 8)
      last.add(view.getBigUint64(0, true));
  last.delete(0n);
  const found: number[] = [];
  if (last.size === 0) return found;
  for (const { start, end, presence } of memory.ranges()) {
    if (presence !== "present") continue;
    for (let at = start - (start % PAGE_SIZE); at < end; at += PAGE_SIZE) {
      const read = memory.read(at + LAST_ENTRY, bytes);
      const n = read instanceof Promise ? await read : read;
      if (n === 8 && last.has(view.getBigUint64(0, true))) found.push(at / PAGE_SIZE);
    }
  }
  return found;
}

/** Memory in which the entries of some page tables are rewritten as they are read. */
class RewrittenMemory implements PhysicalMemory {
  readonly #memory: PhysicalMemory;
  readonly #levels: ReadonlyMap<number, number>;
  readonly #ownFrame: (machine: number) => number | undefined;

  constructor(
    memory: PhysicalMemory,
    levels: ReadonlyMap<number, number>,
    ownFrame: (machine: number) => number | undefined,
  ) {
    this.#memory = memory;
    this.#levels = levels;
    this.#ownFrame = ownFrame;
  }

  ranges(): Iterable<MemoryRange> {
    return this.#memory.ranges();
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    const result = this.#memory.read(gpa, into);
    if (result instanceof Promise) return result.then((n) => this.#rewrite(gpa, into, n));
    return this.#hasTables(gpa, result) ? this.#rewrite(gpa, into, result) : result;
  }

  async *pieces(start?: number, end?: number): AsyncIterable<MemoryPiece> {
    for await (const piece of this.#memory.pieces(start, end)) {
      const { gpa, length, bytes } = piece;
      if (bytes === undefined || !this.#hasTables(gpa, length)) {
        yield piece;
        continue;
      }
      // the piece may be a view of what its source keeps
      const copy = bytes.slice();
      await this.#rewrite(gpa, copy, length);
      yield { gpa, length, bytes: copy };
    }
  }

  #hasTables(gpa: number, length: number): boolean {
    const end = gpa + length;
    for (let frame = Math.floor(gpa / PAGE_SIZE); frame * PAGE_SIZE < end; frame += 1)
      if (this.#levels.has(frame)) return true;
    return false;
  }

  /** Puts the rewritten tables into the first `n` bytes, which were read from `gpa` on. */
  async #rewrite(gpa: number, into: Uint8Array, n: number): Promise<number> {
    const end = gpa + n;
    for (let frame = Math.floor(gpa / PAGE_SIZE); frame * PAGE_SIZE < end; frame += 1) {
      const level = this.#levels.get(frame);
      if (level === undefined) continue;
      const page = new Uint8Array(PAGE_SIZE);
      await this.#memory.read(frame * PAGE_SIZE, page);
      this.#rewriteTable(page, level);
      const from = Math.max(gpa, frame * PAGE_SIZE);
      const to = Math.min(end, (frame + 1) * PAGE_SIZE);
      into.set(page.subarray(from - frame * PAGE_SIZE, to - frame * PAGE_SIZE), from - gpa);
    }
    return n;
  }

  /** An entry that maps none of the guest's memory (the hypervisor's, another domain's) maps nothing afterwards. */
  #rewriteTable(page: Uint8Array, level: number): void {
    const view = viewOf(page);
    for (let i = 0; i < ENTRIES; i += 1) {
      const entry = view.getBigUint64(i * 8, true);
      if ((entry & PRESENT) === 0n) continue;
      const isXen = level === TOP && i >= XEN_FIRST && i <= XEN_LAST;
      const own = isXen ? undefined : this.#ownFrame(frameOf(entry));
      view.setBigUint64(i * 8, own === undefined ? 0n : (entry & ~FRAME) | (BigInt(own) << 12n), true);
    }
  }
}
