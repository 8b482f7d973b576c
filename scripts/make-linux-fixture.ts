import * as fs from "node:fs";
import type { GuestImage } from "../src/guest/image.js";
import type { MemoryPiece, MemoryRange, PhysicalMemory } from "../src/guest/memory.js";
import { installNodeCodecs } from "../src/io/node/codecs.js";
import { openRandomAccess } from "../src/io/node/decompress.js";
import { openFile, openInput } from "../src/io/node/files.js";
import { FileSink } from "../src/io/node/output.js";
import { Btf, btfHeader } from "../src/linux/btf.js";
import { CachedMemory } from "../src/guest/cached-memory.js";
import { type Kernel, openKernel } from "../src/linux/kernel.js";
import { symbolEntry } from "../src/linux/kernel-tables.js";
import { logSourceOf } from "../src/linux/log/kernel-log.js";
import { readLog } from "../src/linux/log/read.js";
import { networkNamespaces } from "../src/linux/interfaces.js";
import { structOfModules } from "../src/linux/module-types.js";
import { useModuleSymbols } from "../src/linux/modules.js";
import { mountsOf } from "../src/linux/mounts.js";
import { openFiles } from "../src/linux/open-files.js";
import { PageOwners } from "../src/linux/pages/page-owner.js";
import { processMemory } from "../src/linux/process.js";
import { readUpTo } from "../src/linux/read.js";
import { openSockets } from "../src/linux/sockets.js";
import { SymbolTable } from "../src/linux/symbols.js";
import { IMAGE_BOUNDS } from "../src/linux/symbols/image-sections.js";
import { WELL_KNOWN_VARIABLES } from "../src/linux/symbols/well-known.js";
import { systemOf } from "../src/linux/system.js";
import { listTasks, type Task } from "../src/linux/tasks.js";
import { Unwinder } from "../src/linux/unwind/backtrace.js";
import { stackStart } from "../src/linux/unwind/task-stack.js";
import { listMappings, mappingAt } from "../src/linux/user-mappings.js";
import { openGuest } from "../src/open/open.js";
import { elfWriter } from "../src/vmcore/elf/write.js";

/**
 * tsx scripts/make-linux-fixture.ts INPUT OUT.elf [PLACES.json]
 *
 * Makes a small ELF vmcore of a saved Linux guest: only what reading its log, tasks, stacks, state, modules, mounts,
 * network, open files and mappings touches, byte for byte; the rest of those pages is zero, all other pages are
 * absent. Of kallsyms and BTF only the symbols and types that were asked for keep their names; the tables keep their
 * size and form. With PLACES.json, of scripts/guests/page-truth.py, only what finding the owners of those places touches.
 */

const PAGE = 4096;

/** Bytes that were read, and pages that were missed. */
class Recorder {
  readonly pages = new Map<number, Uint8Array>();

  add(gpa: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = gpa + done;
      const number = Math.floor(at / PAGE);
      const within = at - number * PAGE;
      const part = Math.min(PAGE - within, bytes.length - done);
      let page = this.pages.get(number);
      if (page === undefined) {
        page = new Uint8Array(PAGE);
        this.pages.set(number, page);
      }
      page.set(bytes.subarray(done, done + part), within);
      done += part;
    }
  }
}

/** Memory of recorded pages alone. */
class RecordedMemory implements PhysicalMemory {
  readonly #pages: ReadonlyMap<number, Uint8Array>;

  constructor(pages: ReadonlyMap<number, Uint8Array>) {
    this.#pages = pages;
  }

  *ranges(): Iterable<MemoryRange> {
    let last: { start: number; end: number } | undefined;
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      if (last !== undefined && last.end === number * PAGE) {
        last.end += PAGE;
        continue;
      }
      if (last !== undefined) yield { ...last, presence: "present" };
      last = { start: number * PAGE, end: (number + 1) * PAGE };
    }
    if (last !== undefined) yield { ...last, presence: "present" };
  }

  read(gpa: number, into: Uint8Array): number {
    let done = 0;
    while (done < into.length) {
      const number = Math.floor((gpa + done) / PAGE);
      const within = gpa + done - number * PAGE;
      const part = this.#pages.get(number)?.subarray(within, within + into.length - done);
      if (part === undefined) break;
      into.set(part, done);
      done += part.length;
    }
    return done;
  }

  async *pieces(start = 0, end = Number.MAX_SAFE_INTEGER): AsyncIterable<MemoryPiece> {
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const gpa = number * PAGE;
      if (gpa >= start && gpa < end) yield { gpa, length: PAGE, bytes: this.#pages.get(number) };
    }
  }
}

/** What the reading asked of the tables of symbols and types. */
const used = { names: new Set<string>(), types: new Set<number>(), strings: new Set<number>() };

/** Puts `around` around a method of all objects of a class. */
function wrap(
  holder: object,
  method: string,
  around: (args: readonly unknown[], result: unknown) => unknown,
): void {
  const original = Reflect.get(holder, method) as (...args: readonly unknown[]) => unknown;
  Reflect.set(holder, method, function wrapped(this: unknown, ...args: readonly unknown[]): unknown {
    return around(args, Reflect.apply(original, this, args));
  });
}

function watch(recorder: Recorder): void {
  wrap(CachedMemory.prototype, "read", ([gpa, into], result) => {
    const keep = (n: number): number => {
      recorder.add(gpa as number, (into as Uint8Array).subarray(0, n));
      return n;
    };
    return result instanceof Promise ? result.then(keep) : keep(result as number);
  });
  for (const method of ["address", "addresses"])
    wrap(SymbolTable.prototype, method, ([name], result) => {
      used.names.add(name as string);
      return result;
    });
  wrap(SymbolTable.prototype, "place", (_, result) => {
    if (result !== undefined) used.names.add((result as { name: string }).name);
    return result;
  });
  wrap(Btf.prototype, "head", ([id], result) => {
    used.types.add(id as number);
    return result;
  });
  wrap(Btf.prototype, "string", ([offset], result) => {
    used.strings.add(offset as number);
    return result;
  });
}

/** Reads everything that the commands read. */
async function readAll(guest: GuestImage): Promise<Kernel> {
  const kernel = await openKernel(guest);
  await useModuleSymbols(kernel);
  await systemOf(kernel);
  for await (const _ of readLog(await logSourceOf(guest)));
  const tasks: Task[] = [];
  for await (const task of listTasks(kernel, { threads: true, idle: true })) tasks.push(task);
  const unwinder = new Unwinder(kernel);
  for (const task of tasks) {
    await processMemory(kernel, task);
    const { frames } = await unwinder.backtrace(await stackStart(kernel, task));
    for (const { mode, pc } of frames)
      if (mode === "user" && task.mm !== 0n) await mappingAt(kernel, task.mm, pc);
  }
  await readSystem(kernel, tasks);
  await readForSymbolFiles(kernel);
  return kernel;
}

/** Finds the owners of places, and reads nothing else. */
async function readOwners(guest: GuestImage, file: string): Promise<Kernel> {
  const kernel = await openKernel(guest);
  const places = JSON.parse(fs.readFileSync(file, "utf8")) as readonly { readonly gpa: number }[];
  await new PageOwners(kernel).ownersOf(places.map(({ gpa }) => gpa));
  return kernel;
}

/** What symbol files have beside the image's contents. */
async function readForSymbolFiles(kernel: Kernel): Promise<void> {
  for (const name of [...IMAGE_BOUNDS, ...Object.keys(WELL_KNOWN_VARIABLES)]) kernel.symbol(name);
  kernel.types?.variable?.("runqueues");
  const notes = kernel.needSymbol("__start_notes");
  await readUpTo(kernel.space, notes, Number(kernel.needSymbol("__stop_notes") - notes));
}

async function readSystem(kernel: Kernel, tasks: readonly Task[]): Promise<void> {
  // the newest module is the first that is looked at
  for (const name of ["vlan_net", "vlan_ioctl_args"]) {
    const found = await structOfModules(kernel, name);
    for (const { type } of found?.type.members() ?? []) type.members();
  }
  for await (const _ of networkNamespaces(kernel));
  await openSockets(kernel);
  for (const task of tasks) {
    if (task.mm === 0n || task.pid !== task.tgid) continue;
    for await (const _ of openFiles(kernel, task));
    for await (const _ of listMappings(kernel, task.mm));
    for await (const _ of mountsOf(kernel, task.object));
  }
}

/** Puts bytes where a virtual address is. */
async function put(kernel: Kernel, recorder: Recorder, va: bigint, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const gpa = await kernel.space.translate(va + BigInt(done));
    if (gpa === undefined) throw new Error(`nothing at 0x${(va + BigInt(done)).toString(16)}`);
    const part = Math.min(PAGE - (gpa % PAGE), bytes.length - done);
    recorder.add(gpa, bytes.subarray(done, done + part));
    done += part;
  }
}

/** Takes the names off all symbols that nobody asked for. */
async function pruneKallsyms(kernel: Kernel, recorder: Recorder): Promise<void> {
  const { symbols, info, space } = kernel;
  const at = (name: string): bigint => symbolEntry(info, `kallsyms_${name}`) ?? 0n;
  if (symbols === undefined || at("names") === 0n) return;
  const length = Number(at("token_table") - at("names"));
  const names = await readUpTo(space, at("names"), length);
  const tokens = await readUpTo(space, at("token_table"), 1 << 16);
  const index = new DataView((await readUpTo(space, at("token_index"), 512)).slice().buffer);
  const letter = Array.from({ length: 256 }, (_, i) => i).find((token) => {
    const start = index.getUint16(token * 2, true);
    return tokens[start] === 0x74 && tokens[start + 1] === 0;
  });
  if (letter === undefined) throw new Error("no token t");
  const wanted = new Set(used.names);
  for (const key of info.keys()) wanted.add(/^SYMBOL\((\w+)\)$/.exec(key)?.[1] ?? "");
  const out = new Uint8Array(length);
  const size = at("offsets") === 0n ? 0 : symbols.size * 4;
  const offsets = await readUpTo(space, at("offsets"), size);
  const view = new DataView(offsets.buffer, offsets.byteOffset, offsets.byteLength);
  const isSelf = kernel.addressForm === "self-relative";
  const valueOf = (i: number): number => view.getInt32(i * 4, true) + (isSelf ? i * 4 : 0);
  let from = 0;
  let to = 0;
  let kept = 0;
  let next = false;
  for (let i = 0; i < symbols.size; i += 1) {
    const first = names[from] ?? 0;
    const head = first < 0x80 ? 1 : 2;
    const bytes = head + (head === 1 ? first : (first & 0x7f) | ((names[from + 1] ?? 0) << 7));
    if (wanted.has(symbols.name(i))) {
      out.set(names.subarray(from, from + bytes), to);
      to += bytes;
      kept = valueOf(i);
      next = true;
    } else {
      out.set([1, letter], to);
      to += 2;
      // the symbol after one that is asked for ends it
      if (next && valueOf(i) !== kept) {
        kept = valueOf(i);
        next = false;
      }
      view.setInt32(i * 4, kept - (isSelf ? i * 4 : 0), true);
    }
    from += bytes;
  }
  await put(kernel, recorder, at("names"), out);
  await put(kernel, recorder, at("offsets"), offsets);
}

/** Makes every type that nobody asked for an unnamed declaration, and every string zeros. */
async function pruneBtf(kernel: Kernel, recorder: Recorder): Promise<void> {
  const start = kernel.symbol("__start_BTF");
  const stop = kernel.symbol("__stop_BTF");
  if (start === undefined || stop === undefined) return;
  const types = new Set(used.types);
  const strings = new Set(used.strings);
  const bytes = await readUpTo(kernel.space, start, Number(stop - start));
  const head = btfHeader.decode(bytes.subarray(0, btfHeader.size), "little");
  const btf = new Btf(bytes);
  const parts: Uint8Array[] = [];
  for (let id = 1; id < btf.endId; id += 1) {
    const { at, view } = btf.head(id) ?? { at: 0, view: new DataView(new ArrayBuffer(0)) };
    const after = btf.head(id + 1)?.at ?? head.typeLength + 12;
    if (types.has(id)) {
      const part = new Uint8Array(view.buffer, view.byteOffset + at - 12, after - at);
      strings.add(new DataView(part.buffer, part.byteOffset, 4).getUint32(0, true));
      parts.push(part);
    } else {
      const none = new Uint8Array(12);
      new DataView(none.buffer).setUint32(4, 7 << 24, true);
      parts.push(none);
    }
  }
  const typeLength = parts.reduce((sum, part) => sum + part.length, 0);
  const out = new Uint8Array(bytes.length);
  const text = new Uint8Array(bytes.subarray(head.headerLength + head.stringOffset).length);
  const from = bytes.subarray(head.headerLength + head.stringOffset);
  for (const offset of strings) {
    // those of modules go on from the kernel's
    if (offset >= head.stringLength) continue;
    const end = from.indexOf(0, offset);
    text.set(from.subarray(offset, end), offset);
  }
  out.set(btfHeader.encode({ ...head, typeOffset: 0, typeLength, stringOffset: typeLength }, "little"), 0);
  let to = head.headerLength;
  for (const part of parts) {
    out.set(part, to);
    to += part.length;
  }
  out.set(text.subarray(0, head.stringLength), to);
  await put(kernel, recorder, start, out);
}

async function main([input, output, places]: readonly string[]): Promise<void> {
  if (input === undefined || output === undefined) throw new Error("usage: make-linux-fixture INPUT OUT.elf");
  installNodeCodecs();
  const access = await openRandomAccess(openInput(input), {});
  const guest = await openGuest(access.source, { openFile: async (path) => openFile(path) });
  const recorder = new Recorder();
  watch(recorder);
  const kernel = places === undefined ? await readAll(guest) : await readOwners(guest, places);
  const asked = { names: new Set(used.names), types: new Set(used.types), strings: new Set(used.strings) };
  await pruneKallsyms(kernel, recorder);
  Object.assign(used, asked);
  await pruneBtf(kernel, recorder);
  const sink = new FileSink(output);
  const { blocks: _, raw: __, machineFrame: ___, ...rest } = guest;
  await elfWriter.write({ ...rest, memory: new RecordedMemory(recorder.pages) }, sink, {});
  sink.commit();
  process.stdout.write(`${recorder.pages.size} pages, ${fs.statSync(output).size} bytes\n`);
  await guest.close?.();
  access.close();
}

await main(process.argv.slice(2));
