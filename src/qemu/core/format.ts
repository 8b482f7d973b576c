import { viewOf } from "../../binary/layout.js";
import { DebugInfo } from "../../dwarf/info.js";
import { type DebugFileAccess, findDebugFiles } from "../../elf/debug-file.js";
import type { ElfFile } from "../../elf/file.js";
import { elfLayouts, ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, ET_CORE, PT_LOAD } from "../../elf/layout.js";
import type { GuestImage } from "../../guest/image.js";
import type { InputFormat, OpenOptions } from "../../guest/input-format.js";
import { type ByteSource, isByteSource } from "../../io/byte-source.js";
import { UsageError } from "../../io/errors.js";
import {
  type DebugFinder,
  guestOfQemu,
  openCore,
  type OpenedQemu,
  openQemuProcess,
  type Process,
} from "./guest-image.js";
import { inspectQemu, type QemuCoreInspection } from "./inspect.js";
import type { Backing } from "./presence.js";
import type { QemuSettings } from "./state.js";
import { programVersion } from "./version.js";

/** Settings of QEMU cores and processes, as `OpenOptions.settings`. */
export interface QemuCoreSettings extends Omit<QemuSettings, "backings"> {
  /** Reaches debug files; without it, `OpenOptions.openFile` opens what is named. */
  readonly debugFiles?: DebugFileAccess;
  /** Path of the program. */
  readonly exe?: string;
  /** Path of its separate debug file. */
  readonly debugFile?: string;
  /** Roots of debug file trees. */
  readonly debugDirs?: readonly string[];
  /** Memory backends' files: id → path. */
  readonly backing?: Readonly<Record<string, string>>;
}

/** The core of a QEMU system emulator, written by the kernel or by gcore. */
export const qemuCore: InputFormat = {
  id: "qemu-core",
  title: "core of a process (QEMU)",
  matches: isProcessCore,
  async openGuest(input, options) {
    return openQemuGuest(await openCore(input), "QEMU process core", options);
  },
  async inspect(input, options) {
    if (!isByteSource(input)) {
      throw new UsageError("a core can't be read from a pipe: store it in a file first", {
        source: input.name,
      });
    }
    return inspectProcess(await openCore(input), "core", options);
  },
};

/** The guest in a core or a running process. */
export async function openQemuGuest(
  process: Process,
  origin: string,
  options: OpenOptions,
): Promise<GuestImage> {
  return guestOfQemu(await openState(process, options), origin);
}

/** Tells what a core or a running process holds. */
export async function inspectProcess(
  process: Process,
  what: "core" | "process",
  options: OpenOptions,
): Promise<QemuCoreInspection> {
  return inspectQemu(await openState(process, options), what);
}

/** Finds the program's debug information and reads QEMU's state with it. */
export async function openState(process: Process, options: OpenOptions): Promise<OpenedQemu> {
  const settings = (options.settings ?? {}) as QemuCoreSettings;
  const { openFile } = options;
  const access = settings.debugFiles ?? { open: async (path: string) => openFile?.(path) };
  let program: ElfFile | undefined;
  const find: DebugFinder = async (image) => {
    const files = await findDebugFiles(access, {
      programPath: image.path,
      buildId: image.buildId,
      exe: settings.exe,
      debugFile: settings.debugFile,
      debugDirs: settings.debugDirs,
    });
    program = files.program;
    const info = await DebugInfo.open(files.debug, {
      ...(files.alternate === undefined ? {} : { alternate: files.alternate }),
      ...(files.package === undefined ? {} : { package: files.package }),
      openSplit: (name, directory) => files.openSplit(name, directory),
    });
    return { elf: files.debug, info };
  };
  const backings = await openBackings(settings.backing ?? {}, openFile, process);
  const state = await openQemuProcess(process, find, {
    ...settings,
    backings: backings.map(({ backing }) => backing),
  });
  const version = program === undefined ? undefined : await programVersion(program);
  return {
    ...state,
    machine: version === undefined ? state.machine : { ...state.machine, version },
    warnings: [...state.warnings, ...backings.flatMap(({ warning }) => warning ?? [])],
  };
}

async function openBackings(
  named: Readonly<Record<string, string>>,
  openFile: OpenOptions["openFile"],
  process: Process,
): Promise<{ backing: Backing; warning: string | undefined }[]> {
  const backings = [];
  for (const [id, path] of Object.entries(named)) {
    if (openFile === undefined) throw new UsageError("files of memory backends can't be opened here");
    const source = await openFile(path);
    const [file, core] = [modified(source), modified(process.memory.source)];
    const newer = file !== undefined && core !== undefined && file > core;
    const warning = newer
      ? `${path} was written after the core: its contents may have changed since`
      : undefined;
    backings.push({ backing: { id, source }, warning });
  }
  return backings;
}

/** When a file was last written, where its source knows. */
function modified(source: ByteSource): number | undefined {
  const { mtimeMs } = source as { mtimeMs?: unknown };
  return typeof mtimeMs === "number" ? mtimeMs : undefined;
}

/** An ELF core whose segments have virtual addresses only: of a process, not of a machine. */
function isProcessCore(head: Uint8Array): boolean {
  const { ehdr, phdr } = elfLayouts(head[4] === ELFCLASS64 ? 64 : 32);
  if (head.length < ehdr.size || !ELF_MAGIC.every((octet, i) => head[i] === octet)) return false;
  const order = head[5] === ELFDATA2LSB ? "little" : "big";
  const view = viewOf(head);
  const type = ehdr.offsetOf("e_type");
  if (view.getUint16(type, order === "little") !== ET_CORE) return false;
  const small = head[4] === ELFCLASS64 ? 8 : 4;
  const word = (at: number): bigint =>
    small === 8 ? view.getBigUint64(at, order === "little") : BigInt(view.getUint32(at, order === "little"));
  const table = word(ehdr.offsetOf("e_phoff"));
  // out of sight: dumps of machines have been tried before
  if (table > BigInt(head.length)) return true;
  const count = view.getUint16(ehdr.offsetOf("e_phnum"), order === "little");
  const last = Math.min(head.length, Number(table) + count * phdr.size) - phdr.size;
  let virtual = false;
  for (let at = Number(table); at <= last; at += phdr.size) {
    if (view.getUint32(at, order === "little") !== PT_LOAD) continue;
    if (word(at + phdr.offsetOf("p_paddr")) !== 0n) return false;
    virtual ||= word(at + phdr.offsetOf("p_vaddr")) !== 0n;
  }
  return virtual;
}
