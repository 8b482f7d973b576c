import type { GuestImage } from "../../guest/image.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import { lookUp, pagingOf, type Translation } from "../../guest/paging/walk.js";
import { isDamage } from "../../guest/damage.js";
import type { AddressSpace } from "../../linux/address-space.js";
import type { ByteSource, MaybePromise } from "../../io/byte-source.js";
import { readIntact } from "../../io/lost-bytes.js";
import { UsageError } from "../../findings/errors.js";
import { findRun } from "./memory-table.js";
import type { MemoryTable, ReadResult, ReadRun, Space } from "./protocol.js";

/** Bytes read in one call at most. */
const MOST_READ: number = 1 << 20;

type Run = { -readonly [K in keyof ReadRun]: ReadRun[K] };

/** Where bytes come from: the input as it is, and the guest in it if one could be opened. */
export interface Readable {
  readonly source: ByteSource | undefined;
  readonly guest: GuestImage | undefined;
  readonly table: MemoryTable | undefined;
  /** The virtual memory that a Linux guest's space is. */
  readonly linux?: AddressSpace | undefined;
}

export const isProcess = (space: Space): space is `pid:${number}` => space.startsWith("pid:");

/**
 * Reads `length` bytes (MOST_READ at most) of a space. Nothing that is missing throws: runs say what is there.
 * @throws UsageError for a space that this input doesn't have
 */
export async function readSpace(
  from: Readable,
  space: Space,
  address: bigint,
  length: number,
): Promise<ReadResult> {
  const bytes = new Uint8Array(Math.max(0, Math.min(length, MOST_READ)));
  const runs: Run[] = [];
  if (space === "file") await readFile(from.source, address, bytes, runs);
  else if (space === "physical") await readPhysical(need(from), toNumber(address), bytes, 0, runs);
  else await readVirtual(need(from), tablesOf(from, space), address, bytes, runs);
  return { address, bytes, runs };
}

function need({ guest, table }: Readable): { guest: GuestImage; table: MemoryTable } {
  if (guest === undefined || table === undefined) throw new UsageError("no guest memory could be opened");
  return { guest, table };
}

/** Beyond all memory where an address takes more than 53 bits. */
function toNumber(address: bigint): number {
  return address <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(address) : Number.POSITIVE_INFINITY;
}

function add(runs: Run[], run: Run): void {
  const last = runs.at(-1);
  const joins =
    last !== undefined &&
    last.state === run.state &&
    last.reason === run.reason &&
    last.offset + last.length === run.offset &&
    (last.physical === undefined) === (run.physical === undefined) &&
    (last.physical === undefined || last.physical + last.length === run.physical);
  if (joins) last.length += run.length;
  else if (run.length > 0) runs.push(run);
}

async function readFile(
  source: ByteSource | undefined,
  address: bigint,
  bytes: Uint8Array,
  runs: Run[],
): Promise<void> {
  if (source === undefined) throw new UsageError("this input is no file");
  const offset = toNumber(address);
  const there = Math.max(0, Math.min(bytes.length, source.size - offset));
  for (let done = 0; done < there; ) {
    const { length, next } = await readIntact(source, offset + done, bytes.subarray(done, there));
    add(runs, { offset: done, length, state: "present" });
    // lost with damaged packed data, or of a file that became shorter while it was open
    const reason = next === undefined ? "it can no longer be read" : "it is lost with damaged packed data";
    const until = next === undefined ? there : Math.min(there, done + next);
    bytes.fill(0, done + length, until);
    add(runs, { offset: done + length, length: until - done - length, state: "damaged", reason });
    done = until;
  }
  add(runs, { offset: there, length: bytes.length - there, state: "end" });
}

/** Reads bytes [at, bytes.length) of physical memory at `address`, the address of byte `at`. */
async function readPhysical(
  { guest, table }: { guest: GuestImage; table: MemoryTable },
  address: number,
  bytes: Uint8Array,
  at: number,
  runs: Run[],
  virtual = false,
): Promise<void> {
  let done = at;
  while (done < bytes.length) {
    const gpa = address + done - at;
    const place = virtual ? { physical: gpa } : {};
    const index = findRun(table, gpa);
    if (index < 0) {
      const next = table.starts[-1 - index];
      const length = next === undefined ? bytes.length - done : Math.min(bytes.length - done, next - gpa);
      add(runs, { offset: done, length, state: "hole", ...place });
      done += length;
      continue;
    }
    const kind = table.legend[table.kinds[index] ?? 0];
    const length = Math.min(bytes.length - done, (table.ends[index] ?? 0) - gpa);
    const state = kind?.presence ?? "absent";
    if (state === "present") {
      await readPresent(guest, gpa, bytes, done, length, runs, virtual);
    } else {
      const reason = kind?.reason === undefined ? {} : { reason: kind.reason };
      add(runs, { offset: done, length, state, ...reason, ...place });
    }
    done += length;
  }
}

async function readPresent(
  { memory }: GuestImage,
  gpa: number,
  bytes: Uint8Array,
  at: number,
  length: number,
  runs: Run[],
  virtual: boolean,
): Promise<void> {
  // whole first: page by page only where that meets damage
  let step = length;
  for (let done = 0; done < length; ) {
    const part = Math.min(step, length - done);
    const address = gpa + done;
    const place = { offset: at + done, ...(virtual ? { physical: address } : {}) };
    try {
      const n = await memory.read(address, bytes.subarray(at + done, at + done + part));
      if (n === 0) {
        add(runs, { ...place, length: part, state: "damaged", reason: "it can't be read" });
        done += part;
      } else {
        add(runs, { ...place, length: n, state: "present" });
        done += n;
      }
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (part > PAGE_SIZE) {
        step = PAGE_SIZE - (address % PAGE_SIZE);
        continue;
      }
      bytes.fill(0, at + done, at + done + part);
      add(runs, { ...place, length: part, state: "damaged", reason: error.message });
      done += part;
    }
    if (step !== length) step = PAGE_SIZE;
  }
}

/** Looks a virtual address up, as `lookUp` does. */
type LookUp = (va: bigint) => MaybePromise<Translation | undefined>;

/** @throws UsageError where how the space translates isn't known */
function tablesOf({ guest, linux }: Readable, space: Space): LookUp {
  if (linux !== undefined)
    return async (va) => {
      const gpa = await linux.translate(va);
      if (gpa !== undefined) return { gpa };
      return (await linux.gapAt(va)).why === "not mapped" ? { unmapped: PAGE_BITS } : undefined;
    };
  const id = Number(space.slice("vcpu:".length));
  const vcpu = guest?.vcpus.find((one) => one.id === id);
  const paging = vcpu?.registers?.kind === "x86" ? pagingOf(vcpu.registers) : undefined;
  if (guest === undefined || paging === undefined)
    throw new UsageError(`vCPU ${id}: its page tables are not known`);
  return (va) => lookUp(guest.memory, paging, va);
}

const PAGE_BITS = 12;
const PAGE = BigInt(PAGE_SIZE);

async function readVirtual(
  from: { guest: GuestImage; table: MemoryTable },
  tables: LookUp,
  address: bigint,
  bytes: Uint8Array,
  runs: Run[],
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const va = BigInt.asUintN(64, address + BigInt(done));
    const length = Math.min(bytes.length - done, PAGE_SIZE - Number(va % PAGE));
    const found = await tables(va);
    if (found === undefined) {
      add(runs, { offset: done, length, state: "absent", reason: "its page table is not in the input" });
    } else if ("unmapped" in found) {
      add(runs, { offset: done, length, state: "unmapped" });
    } else {
      await readPhysical(from, found.gpa, bytes.subarray(0, done + length), done, runs, true);
    }
    done += length;
  }
}
