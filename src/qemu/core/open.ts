import { DebugInfo } from "../../dwarf/info.js";
import { findDebugFiles } from "../../elf/debug-file.js";
import type { ElfFile } from "../../elf/file.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { AbsentError, type Remedy, UsageError } from "../../findings/errors.js";
import type { LaidOutState } from "./by-command-line/state.js";
import { type DebugFinder, guestOfQemu, type OpenedQemu, openQemuProcess, type Process } from "./guest.js";
import { inspectQemu, type QemuCoreInspection } from "./inspect.js";
import type { Backing } from "./presence.js";
import { programVersion } from "./version.js";

/** The guest in a core or a running process. */
export async function openQemuGuest(
  process: Process,
  origin: string,
  options: OpenOptions,
): Promise<GuestImage> {
  if (options.qemu?.withoutDebugInfo === true) {
    const { guestOfLayout } = await import("./by-command-line/guest.js");
    return guestOfLayout(await openLayout(process, options), origin);
  }
  return guestOfQemu(await openState(process, options), origin, options);
}

/** Describes the guest in a core or a running process. */
export async function inspectProcess(
  process: Process,
  what: "core" | "process",
  options: OpenOptions,
): Promise<QemuCoreInspection> {
  if (options.qemu?.withoutDebugInfo === true) {
    const { inspectLayout } = await import("./by-command-line/guest.js");
    return inspectLayout(await openLayout(process, options), what, options);
  }
  return inspectQemu(await openState(process, options), what, options);
}

/** Lays memory out by the command line. */
async function openLayout(process: Process, options: OpenOptions): Promise<LaidOutState> {
  const { layOut } = await import("./by-command-line/state.js");
  const backings = await openBackings(options.qemu?.backing ?? {}, options.openFile, process);
  const state = await layOut(
    process,
    options.qemu ?? {},
    backings.map(({ backing }) => backing),
  );
  return { ...state, warnings: [...state.warnings, ...backings.flatMap(({ warning }) => warning ?? [])] };
}

/** Finds the program's debug information and reads QEMU's state with it. */
export async function openState(process: Process, options: OpenOptions): Promise<OpenedQemu> {
  const { openFile, qemu = {} } = options;
  const access = qemu.debugFiles ?? { open: async (path: string) => openFile?.(path) };
  let program: ElfFile | undefined;
  const find: DebugFinder = async (image) => {
    const files = await findDebugFiles(access, {
      programPath: image.path,
      buildId: image.buildId,
      exe: qemu.exe,
      debugFile: qemu.debugFile,
      debugDirs: qemu.debugDirs,
    }).catch(offerCommandLine);
    program = files.program;
    const info = await DebugInfo.open(files.debug, {
      ...(files.alternate === undefined ? {} : { alternate: files.alternate }),
      ...(files.package === undefined ? {} : { package: files.package }),
      openSplit: (name, directory) => files.openSplit(name, directory),
    });
    return { elf: files.debug, info };
  };
  const backings = await openBackings(qemu.backing ?? {}, openFile, process);
  const state = await openQemuProcess(process, find, {
    arch: qemu.arch,
    excludeNonvolatile: qemu.excludeNonvolatile,
    keepUnplugged: qemu.keepUnplugged,
    backings: backings.map(({ backing }) => backing),
  });
  const version = program === undefined ? undefined : await programVersion(program);
  return {
    ...state,
    machine: version === undefined ? state.machine : { ...state.machine, version },
    warnings: [...state.warnings, ...backings.flatMap(({ warning }) => warning ?? [])],
  };
}

/** Debug information that isn't there can be done without. */
function offerCommandLine(error: unknown): never {
  if (!(error instanceof AbsentError)) throw error;
  const { rule, message, place, remedy, hints } = error;
  const without: Remedy = {
    option: "withoutDebugInfo",
    effect: "reads memory by QEMU's command line, without registers, where the guest's memory proves it",
  };
  const either = remedy === undefined ? without : { ...remedy, or: without };
  throw new AbsentError(rule, message, place, either, hints);
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
