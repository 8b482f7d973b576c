import { latin1Bytes, viewOf } from "../binary/layout.js";
import { yieldToEventLoop } from "../io/event-loop.js";
import type { AddressSpace } from "./address-space.js";
import { searchImage } from "./image-sweep.js";
import { hexEntry, type VmcoreInfoMap } from "./kernel-tables.js";
import { readU32, readU64 } from "./read.js";
import { findMember, type KernelType, type KernelTypes } from "./types.js";

/** Bytes that are looked through at a time; bytes of an image, and of its data after the last variable that is known. */
const WINDOW = 256 << 10;
const MOST_IMAGE = 192n << 20n;
const AFTER_LAST = 4n << 20n;
const PAGE = 4096;
/** Hits that are checked: an image made of them must not cost hours. */
const MOST_CHECKED = 4096;
/** Modules lie this near to the image, in units of 4 GiB: calls between them reach no further. */
const NEAR = 1;
/** Bytes of a part of a module. */
const LARGEST_MODULE = 256 << 20;

/**
 * Variables that a kernel built without CONFIG_KALLSYMS_ALL doesn't name, found in its image by what they must hold:
 * `init_task` (the first task, its own parent) and `modules` (a list of structures that are modules).
 * @param start where the image's code begins
 */
export async function findUnnamedVariables(
  space: AddressSpace,
  types: KernelTypes,
  info: VmcoreInfoMap,
  start: bigint,
): Promise<ReadonlyMap<string, bigint>> {
  const found = new Map<string, bigint>();
  const task = types.find("struct", "task_struct");
  const init = task === undefined ? undefined : await findInitTask(space, task, start);
  if (init !== undefined) found.set("init_task", init);
  const module = types.find("struct", "module");
  const modules =
    module === undefined ? undefined : await findModules(space, module, start, imageEnd(info, start));
  if (modules !== undefined) found.set("modules", modules);
  return found;
}

/** Byte offset of a member. */
function offsetIn(type: KernelType, path: string): bigint | undefined {
  const place = findMember(type, path);
  return place === undefined ? undefined : BigInt(place.bitOffset >>> 3);
}

async function findInitTask(
  space: AddressSpace,
  task: KernelType,
  start: bigint,
): Promise<bigint | undefined> {
  const comm = offsetIn(task, "comm");
  const pid = offsetIn(task, "pid");
  const parent = offsetIn(task, "real_parent");
  const tasks = offsetIn(task, "tasks");
  if (comm === undefined || pid === undefined || parent === undefined || tasks === undefined)
    return undefined;
  let left = MOST_CHECKED;
  for await (const hit of searchImage(space, start, latin1Bytes("swapper"))) {
    left -= 1;
    if (left < 0) return undefined;
    const at = hit - comm;
    if ((at & 7n) !== 0n || (await readU64(space, at + parent)) !== at) continue;
    const ids = await readU64(space, at + pid);
    if (ids === undefined || (ids & 0xffff_ffffn) !== 0n) continue;
    if (await isLinked(space, at + tasks)) return at;
  }
  return undefined;
}

/** Whether the entry after a list's head points back at it. */
async function isLinked(space: AddressSpace, head: bigint): Promise<boolean> {
  const next = await readU64(space, head);
  return next !== undefined && next !== 0n && (await readU64(space, next + 8n)) === head;
}

async function findModules(
  space: AddressSpace,
  module: KernelType,
  start: bigint,
  end: bigint,
): Promise<bigint | undefined> {
  const list = offsetIn(module, "list");
  const name = offsetIn(module, "name");
  // a module's structure is in the module's own memory: `core_layout` until Linux 6.3, the second of `mem[]` since
  const memory = [
    ["core_layout.base", "core_layout.size"],
    ["mem[1].base", "mem[1].size"],
  ].flatMap(([base = "", size = ""]) => {
    const from = offsetIn(module, base);
    const length = offsetIn(module, size);
    return from === undefined || length === undefined ? [] : [{ from, length }];
  });
  if (list === undefined || name === undefined) return undefined;
  const isModule = async (at: bigint): Promise<boolean> => {
    const text = new Uint8Array(56);
    if ((await space.read(at + name, text)) < text.length) return false;
    const end = text.indexOf(0);
    if (end < 1 || !text.subarray(0, end).every(isNameByte)) return false;
    for (const { from, length } of memory) {
      const base = await readU64(space, at + from);
      const size = await readU32(space, at + length);
      if (base === undefined || size === undefined || base === 0n) continue;
      if (base % BigInt(PAGE) !== 0n || size > LARGEST_MODULE) continue;
      if (at >= base && at < base + BigInt(size)) return true;
    }
    return false;
  };
  let left = MOST_CHECKED;
  for await (const { at, value } of pointers(space, start, end)) {
    if ((await readU64(space, value + 8n)) !== at) continue;
    left -= 1;
    if (left < 0) return undefined;
    if (await isModule(value - list)) return at;
  }
  return undefined;
}

/** Letters, digits, `_` and `-`. */
const isNameByte = (byte: number): boolean =>
  (byte >= 0x61 && byte <= 0x7a) ||
  (byte >= 0x41 && byte <= 0x5a) ||
  (byte >= 0x30 && byte <= 0x39) ||
  byte === 0x5f ||
  byte === 0x2d;

/** Aligned words of the image that are addresses of aligned words near it, not in it. */
async function* pointers(
  space: AddressSpace,
  start: bigint,
  end: bigint,
): AsyncGenerator<{ readonly at: bigint; readonly value: bigint }> {
  const buffer = new Uint8Array(WINDOW);
  const view = viewOf(buffer);
  const high = Number(start >> 32n);
  for (let done = 0; start + BigInt(done) < end; ) {
    const base = start + BigInt(done);
    const n = await space.read(base, buffer);
    for (let word = 0; word + 8 <= n; word += 8) {
      if (Math.abs(view.getUint32(word + 4, true) - high) > NEAR || (view.getUint8(word) & 7) !== 0) continue;
      const value = view.getBigUint64(word, true);
      if (value < start || value >= end) yield { at: base + BigInt(word), value };
    }
    done += n === WINDOW ? WINDOW : n - (n % PAGE) + PAGE;
    await yieldToEventLoop();
  }
}

/** Where the image's data may end: some way after the last of its variables that VMCOREINFO names. */
function imageEnd(info: VmcoreInfoMap, start: bigint): bigint {
  let last = start;
  for (const key of info.keys()) {
    const address = key.startsWith("SYMBOL(") ? hexEntry(info, key) : undefined;
    if (address !== undefined && address > last && address < start + MOST_IMAGE) last = address;
  }
  return last + AFTER_LAST;
}
