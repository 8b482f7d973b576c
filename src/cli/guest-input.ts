import * as fs from "node:fs";
import type { ArgumentParser, Namespace } from "argparse";
import type { GuestImage } from "../guest/image.js";
import type { Inspection, OpenOptions } from "../guest/input-format.js";
import type { ByteSource, ByteStream } from "../io/byte-source.js";
import { UsageError } from "../io/errors.js";
import { type DecompressOptions, openRandomAccess } from "../io/node/decompress.js";
import { nodeDebugFiles } from "../io/node/debug-files.js";
import { openFile, openInput } from "../io/node/files.js";
import { SpoolFile } from "../io/node/output.js";
import { LiveProcess, parsePid } from "../io/node/process-memory.js";
import { inspect, openGuest } from "../open/open.js";
import type { QemuCoreSettings } from "../qemu/core/open.js";
import type { Process } from "../qemu/core/guest-image.js";
import type { SessionInput } from "../open/session/input.js";
import { sourceInput } from "../open/session/input.js";
import { parseBackings } from "./backing.js";
import { readableInput } from "./readable-input.js";

interface Arguments {
  readonly exe?: string;
  readonly debug_file?: string;
  readonly debug_dir?: readonly string[];
  readonly backing?: readonly string[];
  readonly exclude_nonvolatile: boolean;
  readonly arch?: string;
  readonly stop: boolean;
  readonly spool_dir?: string;
  readonly map?: readonly string[];
  readonly blocks?: true | string;
}

/** Options of every command that opens an input as a guest. */
export function addGuestOptions(parser: ArgumentParser): void {
  const group = parser.add_argument_group("QEMU cores and processes");
  group.add_argument("--exe", { metavar: "FILE", help: "the program (default: the path the core names)" });
  group.add_argument("--debug-file", { metavar: "FILE", help: "the program's separate debug file" });
  group.add_argument("--debug-dir", {
    metavar: "FOLDER",
    action: "append",
    help: "root of a tree of debug files (default /usr/lib/debug); may be given again",
  });
  group.add_argument("--backing", {
    metavar: "ID=FILE",
    action: "append",
    help: "read memory that the core lacks from the file of memory backend (or RAM block) ID; may be given again",
  });
  group.add_argument("--exclude-nonvolatile", {
    action: "store_true",
    help: "leave out NVDIMMs, by the flat view's mark",
  });
  group.add_argument("--arch", {
    metavar: "NAME",
    help: "the guest's architecture (default: the program's)",
  });
  const saved = parser.add_argument_group("QEMU migration streams and libvirt saves");
  saved.add_argument("--map", {
    metavar: "BLOCK@ADDRESS",
    action: "append",
    help: "guest-physical address of a RAM block whose place the stream doesn't hold; may be given again",
  });
  saved.add_argument("--blocks", {
    metavar: "NAME,...",
    nargs: "?",
    const: true,
    help: "RAM blocks (all, or those named) one behind another, without the machine's memory map",
  });
  group.add_argument("--stop", {
    action: "store_true",
    help: "with pid:N: stop the process meanwhile (it is resumed whatever happens)",
  });
  parser.add_argument("--spool-dir", {
    metavar: "FOLDER",
    help: "where a compressed or piped input is unpacked (default: the system's folder for temporary files)",
  });
}

/** An input opened from the command line, and what must be given back. */
interface Opened {
  readonly options: OpenOptions;
  close(): void;
}

function openOptions(args: Arguments, rest: Pick<OpenOptions, "partial" | "progress">): OpenOptions {
  const settings: QemuCoreSettings = {
    debugFiles: nodeDebugFiles(),
    ...(args.exe === undefined ? {} : { exe: args.exe }),
    ...(args.debug_file === undefined ? {} : { debugFile: args.debug_file }),
    ...(args.debug_dir === undefined ? {} : { debugDirs: args.debug_dir }),
    ...(args.arch === undefined ? {} : { arch: args.arch }),
    backing: parseBackings(args.backing),
    excludeNonvolatile: args.exclude_nonvolatile,
  };
  const saved = {
    ...(args.map === undefined ? {} : { map: args.map }),
    ...(args.blocks === undefined ? {} : { blocks: args.blocks }),
  };
  return {
    ...rest,
    openFile: async (path) => openFile(path),
    openSpool: () => new SpoolFile(args.spool_dir),
    settings: { ...settings, ...saved },
  };
}

const qemu = (): Promise<typeof import("../qemu/core/open.js")> => import("../qemu/core/open.js");

const processOf = (live: LiveProcess): Process => ({ memory: live, auxv: live.auxv });

async function openInputs<Access extends { close(): void }>(
  name: string,
  args: Namespace,
  rest: Pick<OpenOptions, "partial" | "progress">,
  access: (input: ByteSource | ByteStream, options: DecompressOptions) => Promise<Access>,
): Promise<Opened & ({ process: LiveProcess } | { access: Access })> {
  const given = args as Arguments;
  const options = openOptions(given, rest);
  const pid = parsePid(name);
  if (pid !== undefined && !fs.existsSync(name)) {
    const process = new LiveProcess(pid, { stop: given.stop });
    return { options, process, close: () => process.close() };
  }
  if (given.stop) throw new UsageError("--stop goes with pid:N");
  const opened = await access(openInput(name), {
    ...(given.spool_dir === undefined ? {} : { directory: given.spool_dir }),
    ...(rest.progress === undefined
      ? {}
      : { progress: (done: number) => rest.progress?.(done, undefined, "unpacking") }),
  });
  return { options, access: opened, close: () => opened.close() };
}

/** Opens INPUT (a file, `-`, `pid:N`; compressed or not) as a guest and hands it to `use`. */
export async function withGuest<T>(
  name: string,
  args: Namespace,
  rest: Pick<OpenOptions, "partial" | "progress">,
  use: (guest: GuestImage) => Promise<T>,
): Promise<T> {
  const opened = await openInputs(name, args, rest, openRandomAccess);
  try {
    const guest =
      "process" in opened
        ? await (await qemu()).openQemuGuest(
            processOf(opened.process),
            "running QEMU process",
            opened.options,
          )
        : await openGuest(opened.access.source, opened.options);
    try {
      return await use(guest);
    } finally {
      await guest.close?.();
    }
  } finally {
    opened.close();
  }
}

/** Inspects INPUT (a file, `-`, `pid:N`). */
export async function inspectInput(
  name: string,
  args: Namespace,
  rest: Pick<OpenOptions, "progress">,
): Promise<Inspection> {
  const opened = await openInputs(name, args, rest, readableInput);
  try {
    if ("process" in opened) {
      return await (await qemu()).inspectProcess(processOf(opened.process), "process", opened.options);
    }
    return await inspect(opened.access.input, opened.options);
  } finally {
    opened.close();
  }
}

/** Whether options say how to open an input, other than the defaults. */
export function hasGuestOptions(args: Namespace): boolean {
  const { exe, debug_file, debug_dir, backing, exclude_nonvolatile, arch, stop, spool_dir, map, blocks } =
    args as Arguments;
  const given = [exe, debug_file, debug_dir, backing, arch, spool_dir, map, blocks];
  return exclude_nonvolatile || stop || given.some((value) => value !== undefined);
}

/** Opens INPUT (a file, `-`, `pid:N`; compressed or not) for a session that looks at it for long. */
export async function openSession(name: string, args: Namespace): Promise<SessionInput> {
  const opened = await openInputs(name, args, {}, openRandomAccess);
  if ("access" in opened) {
    const { source, compression } = opened.access;
    const { openFile: beside, openSpool, settings } = opened.options;
    const open = {
      ...(beside === undefined ? {} : { openFile: beside }),
      ...(openSpool === undefined ? {} : { openSpool }),
      ...(settings === undefined ? {} : { settings }),
    };
    return sourceInput(source, { open, compression, close: () => opened.close() });
  }
  const { openQemuGuest, inspectProcess } = await qemu();
  const process = processOf(opened.process);
  return {
    identity: { name, format: "qemu-process", title: "running QEMU process" },
    openGuest: (options) => openQemuGuest(process, "running QEMU process", { ...opened.options, ...options }),
    inspect: (options) => inspectProcess(process, "process", { ...opened.options, ...options }),
    close: () => opened.close(),
  };
}
