// over 350 lines: every way in which a command line names a guest, and the one function that opens it
import * as fs from "node:fs";
import type { ArgumentParser, Namespace } from "argparse";
import type { ProcessFacts } from "../elf/process-facts.js";
import { FormatError, GuestscopeError, SystemError, UsageError } from "../findings/errors.js";
import type { GuestImage } from "../guest/image.js";
import { HEAD_SIZE, type OpenOptions, type QemuOptions } from "../guest/options.js";
import type { GuestInspection } from "../guest/inspection.js";
import { type ByteSource, type ByteStream, isByteSource } from "../io/byte-source.js";
import { type DecompressOptions, openRandomAccess } from "../io/node/decompress.js";
import { peekHead } from "../io/peek-head.js";
import { nodeDebugFiles } from "../io/node/debug-files.js";
import { openFile } from "../io/node/files.js";
import { SpoolFile } from "../io/node/output.js";
import { installNodeSpill } from "../io/node/spill-file.js";
import { unpackWorkers } from "../io/node/unpack-workers.js";
import { parsePid } from "../io/node/process-memory.js";
import { OPEN_RULES } from "../open/rules.js";
import { findFormat } from "../open/detect.js";
import { inspect, openGuest } from "../open/open.js";
import { inspectTorn, openTorn, untilUnmeasured } from "../open/packed.js";
import { inspectProcess, openProcess } from "../open/node/process.js";
import { type SessionInput, sourceInput } from "../open/session/input.js";
import { parseBackings } from "./backing.js";
import { parseBlockMap } from "./block-map.js";
import { addRawOptions, type RawArguments, rawOptions } from "./raw-input.js";
import { type ReadableInput, readableInput } from "./readable-input.js";
import { addSnapshotOption } from "./snapshot-option.js";
import { addStreamOptions } from "./stream-options.js";
import { addVmcoreInfoOption, vmcoreInfoChoice } from "./vmcoreinfo-option.js";
import { isLargeAndFar, NOT_SEARCHED, openNamed } from "./web-input.js";

interface Arguments extends RawArguments {
  readonly quiet: boolean;
  readonly json: boolean;
  readonly snapshot?: string;
  readonly exe?: string;
  readonly debug_file?: string;
  readonly debug_dir?: readonly string[];
  readonly backing?: readonly string[];
  readonly without_debug_info: boolean;
  readonly exclude_nonvolatile: boolean;
  readonly arch?: string;
  readonly stop: boolean;
  readonly spool_dir?: string;
  readonly map?: readonly string[];
  readonly blocks?: true | string;
  readonly vmcoreinfo?: string;
  readonly channel?: readonly string[];
  readonly offset?: number;
}

/** Options of every command that opens an input as a guest. */
export function addGuestOptions(parser: ArgumentParser): void {
  const group = parser.add_argument_group("QEMU cores and processes");
  group.add_argument("--exe", { metavar: "FILE", help: "the program (default: the path the core names)" });
  group.add_argument("--debug-file", { metavar: "FILE", help: "the program's separate debug file" });
  group.add_argument("--debug-dir", {
    metavar: "DIRECTORY",
    action: "append",
    help: "root of a tree of debug files (default /usr/lib/debug); may be given again",
  });
  group.add_argument("--without-debug-info", {
    action: "store_true",
    help: "read memory by QEMU's command line; no registers, refused where the guest's memory doesn't prove its addresses (--map gives them)",
  });
  group.add_argument("--backing", {
    metavar: "ID=FILE",
    action: "append",
    help: "read memory that the core or stream lacks from the file of memory backend (or RAM block) ID; may be given again",
  });
  group.add_argument("--exclude-nonvolatile", {
    action: "store_true",
    help: "leave out NVDIMMs, by the flat view's mark",
  });
  group.add_argument("--arch", {
    metavar: "NAME",
    help: "the guest's architecture (default: the program's); also of LiME and AVML dumps, which don't say",
  });
  const saved = parser.add_argument_group("QEMU migration streams and libvirt saves");
  saved.add_argument("--map", {
    metavar: "BLOCK@ADDRESS",
    action: "append",
    help: "guest-physical address of a RAM block whose place the stream (or a core, with --without-debug-info) doesn't hold; may be given again",
  });
  saved.add_argument("--blocks", {
    metavar: "NAME,...",
    nargs: "?",
    const: true,
    help: "RAM blocks (all, or those named) one after another, without the machine's memory map",
  });
  addStreamOptions(parser, saved);
  addSnapshotOption(parser);
  addVmcoreInfoOption(parser);
  addRawOptions(parser);
  group.add_argument("--stop", {
    action: "store_true",
    help: "with pid:N: stop the process meanwhile (it is resumed whatever happens)",
  });
  parser.add_argument("--spool-dir", {
    metavar: "DIRECTORY",
    help: "where a compressed or piped input is unpacked, and a large index of pages kept (default: the system's directory for temporary files)",
  });
}

function openOptions(args: Arguments, rest: Common): OpenOptions {
  const qemu: QemuOptions = {
    debugFiles: nodeDebugFiles(),
    exe: args.exe,
    debugFile: args.debug_file,
    debugDirs: args.debug_dir,
    withoutDebugInfo: args.without_debug_info,
    arch: args.arch,
    backing: parseBackings(args.backing),
    excludeNonvolatile: args.exclude_nonvolatile,
    channels: args.channel,
    offset: args.offset,
    map: args.map && parseBlockMap(args.map),
    blocks: typeof args.blocks === "string" ? args.blocks.split(",") : args.blocks,
  };
  if (args.spool_dir !== undefined) installNodeSpill(args.spool_dir);
  const raw = rawOptions(args);
  const memory = raw ?? (args.arch === undefined ? undefined : { arch: args.arch });
  const vmcoreInfo = vmcoreInfoChoice(args.vmcoreinfo);
  return {
    unpackers: unpackWorkers(),
    ...rest,
    ...(memory === undefined ? {} : { raw: memory }),
    ...(vmcoreInfo === undefined ? {} : { vmcoreInfo }),
    qcow2: { snapshot: args.snapshot },
    openFile: async (path) => openFile(path),
    openSpool: () => new SpoolFile(args.spool_dir),
    qemu,
  };
}

/** What one of the ways to open an input needs of the command line. */
type Common = Pick<OpenOptions, "partial" | "progress" | "findKernel" | "describeSystem" | "unpackers">;

/** `pid:N` of a process, unless a file has that name. @throws UsageError when `--stop` is given for anything else */
function pidOf(name: string, { stop }: Arguments): number | undefined {
  const pid = parsePid(name);
  if (pid !== undefined && !fs.existsSync(name)) return pid;
  if (stop) throw new UsageError("--stop goes with pid:N");
  return undefined;
}

async function access<Access extends { close(): void }>(
  name: string,
  { spool_dir, quiet, json }: Arguments,
  { progress }: Common,
  open: (input: ByteSource | ByteStream, options: DecompressOptions) => Promise<Access>,
): Promise<{ readonly access: Access; close(): void }> {
  const named = await openNamed(name, !quiet && !json);
  try {
    const opened = await open(named.input, {
      keepTorn: true,
      ...(spool_dir === undefined ? {} : { directory: spool_dir }),
      ...(progress === undefined
        ? {}
        : { progress: (done: number) => progress(done, undefined, "unpacking") }),
    });
    const close = (): void => {
      opened.close();
      named.close();
    };
    return { access: opened, close };
  } catch (error) {
    named.close();
    throw error;
  }
}

/** What opens and inspects: the format that the input begins like, or raw memory where that is said. */
async function reader({ format }: Arguments): Promise<{
  openGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage>;
  inspect(input: ByteSource | ByteStream, options: OpenOptions): Promise<GuestInspection>;
}> {
  if (format !== "raw") return { openGuest, inspect };
  const { inspectRaw, openRawGuest } = await import("../vmcore/raw/guest.js");
  return {
    openGuest: (input, options) =>
      openTorn(input, options, () => openRawGuest(untilUnmeasured(input), options)),
    inspect: (input, options) => inspectTorn(input, () => inspectRaw(input, options)),
  };
}

/** An input that is read at any offset, as ReadableInput. */
async function randomInput(
  input: ByteSource | ByteStream,
  options: DecompressOptions,
): Promise<ReadableInput> {
  const opened = await openRandomAccess(input, options);
  return { input: opened.source, close: () => opened.close() };
}

/** Options by the flag, those that were given. */
function givenOptions(args: Arguments, group: "core" | "stream" | "both" | "disk"): string[] {
  const { exe, debug_file, debug_dir, backing, arch, map, blocks, snapshot, channel, offset } = args;
  const groups = {
    core: {
      "--exe": exe,
      "--debug-file": debug_file,
      "--debug-dir": debug_dir,
      "--arch": arch,
      "--exclude-nonvolatile": args.exclude_nonvolatile || undefined,
      "--without-debug-info": args.without_debug_info || undefined,
    },
    both: { "--backing": backing },
    stream: { "--map": map, "--blocks": blocks, "--channel": channel, "--offset": offset },
    disk: { "--snapshot": snapshot },
  };
  return Object.entries(groups[group]).flatMap(([flag, value]) => (value === undefined ? [] : [flag]));
}

/** Formats that know nothing of QEMU's process, of the RAM blocks of its streams, or of either. */
const NO_PROCESS = /^(xen-|kdump$|lime$|elf-vmcore$|qemu-migration$|libvirt-qemu-save$)/;
const NO_BLOCKS = /^(xen-|kdump$|lime$|elf-vmcore$|qemu-core$)/;
const NO_BACKINGS = /^(xen-|kdump$|lime$|elf-vmcore$)/;
const NO_SNAPSHOTS = /^(xen-|kdump$|lime$|elf-vmcore$|qemu-core$|qemu-migration$|libvirt-qemu-save$)/;

/** Refuses options that an input of this format has no use for. @throws UsageError */
async function refuseIdleOptions(input: ByteSource | ByteStream, args: Arguments): Promise<void> {
  const core = givenOptions(args, "core");
  const stream = givenOptions(args, "stream");
  const both = givenOptions(args, "both");
  const disk = givenOptions(args, "disk");
  // raw memory is of any form
  if (args.format !== undefined || !isByteSource(input)) return;
  if (core.length + stream.length + both.length + disk.length === 0) return;
  // a stream at an offset: what precedes it may begin like anything
  if (args.offset !== undefined) return;
  const { head } = await peekHead(input, HEAD_SIZE);
  const format = await findFormat(head);
  if (format === undefined) return;
  // without debug information the places of a core's blocks may have to be given
  const places = format.id === "qemu-core" && args.without_debug_info ? ["--map"] : [];
  // a LiME dump doesn't say what it is of
  const unsaid = format.id === "lime" ? ["--arch"] : [];
  const idle = [
    ...(NO_PROCESS.test(format.id) ? core.filter((flag) => !unsaid.includes(flag)) : []),
    ...(NO_BLOCKS.test(format.id) ? stream.filter((flag) => !places.includes(flag)) : []),
    ...(NO_BACKINGS.test(format.id) ? both : []),
    ...(NO_SNAPSHOTS.test(format.id) ? disk : []),
  ];
  const [first] = idle;
  if (first !== undefined)
    throw new UsageError(`${first} doesn't apply to a ${format.title}`, { source: input.name });
}

/** Opens INPUT (a file, `-`, `pid:N`; compressed or not) as a guest and hands it to `use`. */
export async function withGuest<T>(
  name: string,
  args: Namespace,
  rest: Common,
  use: (guest: GuestImage) => Promise<T>,
): Promise<T> {
  const given = args as Arguments;
  const options = openOptions(given, rest);
  const pid = pidOf(name, given);
  const opened = pid === undefined ? await access(name, given, rest, openRandomAccess) : undefined;
  try {
    if (opened !== undefined) await refuseIdleOptions(opened.access.source, given);
    const guest =
      opened === undefined
        ? await openProcess(pid ?? 0, { ...options, stop: given.stop })
        : await (await reader(given)).openGuest(opened.access.source, options);
    try {
      return await use(guest);
    } finally {
      await guest.close?.();
    }
  } finally {
    opened?.close();
  }
}

/** An input that could not be read any deeper than what is known of a process without debug information. */
export interface UnreadProcess {
  readonly what: "core" | "process";
  readonly facts: ProcessFacts;
}

/** A core, or a process, that can't be read any deeper, for want of debug information mostly; undefined for all else. */
async function unreadProcess(
  input: ByteSource | ByteStream | number,
  error: unknown,
): Promise<UnreadProcess | undefined> {
  if (!(error instanceof GuestscopeError) || error instanceof SystemError) return undefined;
  if (typeof input === "number")
    return {
      what: "process",
      facts: await (await import("../open/node/process.js")).readProcessFacts(input),
    };
  if (!isByteSource(input)) return undefined;
  const { head } = await peekHead(input, HEAD_SIZE);
  if ((await findFormat(head))?.id !== "qemu-core") return undefined;
  const { coreFacts } = await import("../elf/process-facts.js");
  const { ProcessCore } = await import("../elf/core.js");
  return { what: "core", facts: await coreFacts(await ProcessCore.open(input)) };
}

/** The error to throw: a core of another program is reported as one. */
async function withProcessFacts(
  input: ByteSource | ByteStream | number,
  name: string,
  error: unknown,
  report: (process: UnreadProcess) => void,
): Promise<unknown> {
  const process = await unreadProcess(input, error).catch(() => undefined);
  if (process === undefined) return error;
  report(process);
  const { what, facts } = process;
  if (facts.mayBeQemu) return error;
  const message = `a ${what === "core" ? "core" : "process"} of ${facts.program ?? "another program"}, not of QEMU`;
  return new FormatError(OPEN_RULES.unknown, message, { source: name });
}

/**
 * Inspects INPUT (a file, `-`, `pid:N`).
 * @param report is called before the error is thrown for a core or process that needs debug information to be read
 */
export async function inspectInput(
  name: string,
  args: Namespace,
  rest: Pick<OpenOptions, "progress" | "findKernel" | "describeSystem">,
  report: (process: UnreadProcess) => void = () => undefined,
): Promise<GuestInspection> {
  const given = args as Arguments;
  const options = openOptions(given, rest);
  const pid = pidOf(name, given);
  if (pid !== undefined)
    return inspectProcess(pid, { ...options, stop: given.stop }).catch(async (error: unknown) => {
      throw await withProcessFacts(pid, name, error, report);
    });
  const opened = await access(name, given, rest, given.format === "raw" ? randomInput : readableInput);
  try {
    const { input } = opened.access;
    await refuseIdleOptions(input, given);
    const described = await reader(given);
    if (!isLargeAndFar(name, input)) return await described.inspect(input, options);
    const inspection = await described.inspect(input, { ...options, findKernel: false });
    if (inspection.software?.vmcoreInfo !== undefined) return inspection;
    return { ...inspection, warnings: [...inspection.warnings, NOT_SEARCHED] };
  } catch (error) {
    throw await withProcessFacts(opened.access.input, opened.access.input.name, error, report);
  } finally {
    opened.close();
  }
}

/** Whether options say how to open an input, other than the defaults. */
export function hasGuestOptions(args: Namespace): boolean {
  const given = args as Arguments;
  const { exe, debug_file, debug_dir, backing, arch, spool_dir, map, blocks, snapshot, format } = given;
  const places = [exe, debug_file, debug_dir, backing, spool_dir, map, blocks, given.channel, given.offset];
  const named = [...places, arch, snapshot, format, given.vmcoreinfo];
  const switches = given.without_debug_info || given.exclude_nonvolatile || given.stop;
  return switches || named.some((value) => value !== undefined);
}

/** Opens INPUT (a file, `-`, `pid:N`; compressed or not) for a session that looks at it for long. */
export async function openSession(name: string, args: Namespace): Promise<SessionInput> {
  const given = args as Arguments;
  const open = openOptions(given, {});
  const pid = pidOf(name, given);
  if (pid === undefined) {
    const opened = await access(name, given, {}, openRandomAccess);
    const { source, compression } = opened.access;
    if (given.format === "raw") return rawSession(source, given, open, () => opened.close());
    return sourceInput(source, { open, compression, close: () => opened.close() });
  }
  const process = { ...open, stop: given.stop };
  return {
    identity: { name, format: "qemu-process", title: "running QEMU process" },
    openGuest: (options) => openProcess(pid, { ...process, ...options }),
    inspect: (options) => inspectProcess(pid, { ...process, ...options }),
    close: () => undefined,
  };
}

/** Raw memory: nothing in it says that it is, so nothing can be verified. */
async function rawSession(
  source: ByteSource,
  args: Arguments,
  open: OpenOptions,
  close: () => void,
): Promise<SessionInput> {
  const raw = await reader(args);
  return {
    identity: { name: source.name, size: source.size, format: "raw", title: "raw memory" },
    source,
    openGuest: (options) => raw.openGuest(source, { ...open, ...options }),
    inspect: (options) => raw.inspect(source, { ...open, ...options }),
    close,
  };
}
