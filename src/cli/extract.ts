import * as fs from "node:fs";
import type { ArgumentParser, Namespace } from "argparse";
import { UsageError } from "../findings/errors.js";
import { extractGuest, type Extraction } from "../guest/extract.js";
import type { Rescue } from "../guest/salvage.js";
import type { GuestImage, UnplacedBlock } from "../guest/image.js";
import { isExcluded, memoryTotals, type MemoryRange } from "../guest/memory.js";
import type { OutputFormat, PageCompression, WriteOptions, WriteReport } from "../guest/output-format.js";
import { openOutput } from "../io/node/output.js";
import type { Unpackers } from "../io/codecs/unpack-batch.js";
import { pageWorkersAhead } from "../io/node/page-workers.js";
import { unpackWorkers } from "../io/node/unpack-workers.js";
import { OUTPUTS } from "../open/outputs.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { addGuestOptions, withGuest } from "./guest-input.js";
import { missingLines, percent } from "./present/memory.js";
import { Progress } from "./progress.js";
import { integerOption, parseAddressRange } from "./quantity.js";
import { print, printError, printJson, printWarning, size } from "./terminal.js";

const FORMAT_NAMES = OUTPUTS.map(({ id }) => id);
const COMPRESSIONS = [...new Set(OUTPUTS.flatMap(({ compressions }) => compressions))];

/** Levels of the compressions that have any: least and most. */
const LEVELS: Readonly<Partial<Record<PageCompression, readonly [number, number]>>> = {
  zlib: [0, 9],
  zstd: [1, 22],
};
const MOST_LEVEL = 22;
/** Each takes some 15 MB and none pays beyond the CPUs. */
const MOST_THREADS = 64;
/** Unit of a file's blocks, whatever its file system (stat(2)). */
const BLOCK = 512;

interface Arguments extends CommonArguments {
  readonly input: string;
  readonly output: string;
  readonly to?: string;
  readonly compress?: PageCompression;
  readonly level?: number;
  readonly threads?: number;
  readonly range?: string;
  readonly partial: boolean;
  readonly force: boolean;
}

/** What was written, for programs. */
export interface ExtractDocument extends WriteReport {
  readonly schemaVersion: 1;
  readonly kind: "extract";
  readonly source: string;
  readonly output: string;
  readonly format: string;
  /** False: guest memory is missing and nothing was written. */
  readonly written: boolean;
  readonly arch: string;
  /** vCPUs whose registers are in the output. */
  readonly vcpus: number;
  readonly vmcoreInfo: boolean;
  /** Bytes that the output takes on its disk, where that is known. */
  readonly diskUse?: number | undefined;
  readonly warnings: readonly string[];
  /** What damage in the input took, where it was read across such damage. */
  readonly rescue?: Rescue | undefined;
}

/** `guestscope extract`. */
export const command: Command = {
  name: "extract",
  summary: "write a guest's memory and vCPUs as a vmcore that crash, drgn and others open",
  examples: [
    "guestscope extract core.4711 vm.elf",
    "guestscope extract --debug-file qemu-system-x86_64.debug core.zst vm.elf",
    "guestscope extract web01.save web01.kdump --to kdump --compress zstd",
    "guestscope extract --partial cut.core vm.elf     leaves out what the core lacks",
    "guestscope extract --backing m0=/dev/shm/ram0 core vm.elf",
    "guestscope extract --stop pid:4711 vm.elf        a running QEMU",
    "guestscope extract vm.kdump - --to raw --range 0x100000-0x200000 | hexdump -C",
  ],
  configure(parser: ArgumentParser): void {
    parser.add_argument("input", { metavar: "INPUT", help: "a file, - for standard input, or pid:N" });
    parser.add_argument("output", { metavar: "OUTPUT", help: "where it goes; - is standard output" });
    parser.add_argument("--to", {
      choices: FORMAT_NAMES,
      help: "kind of output (default: by the extension of OUTPUT, else elf)",
    });
    parser.add_argument("--compress", {
      choices: COMPRESSIONS,
      help: "compression of pages (kdump; default zlib)",
    });
    parser.add_argument("--level", {
      type: integerOption("--level", 0, MOST_LEVEL),
      metavar: "N",
      help: "level of that compression (zlib 0 to 9, zstd 1 to 22)",
    });
    parser.add_argument("--threads", {
      type: integerOption("--threads", 1, MOST_THREADS),
      metavar: "N",
      help: `threads that compress pages of a kdump, or unpack them (1 to ${MOST_THREADS}; default: one a processor)`,
    });
    parser.add_argument("--range", {
      metavar: "START-END|START+LENGTH",
      help: "only these guest-physical addresses, END exclusive: 0x1000-0x2000, 1M+64K",
    });
    parser.add_argument("--partial", {
      action: "store_true",
      help: "write what is there when the input lacks some of the guest's memory",
    });
    parser.add_argument("--force", { action: "store_true", help: "replace an existing output" });
    addGuestOptions(parser);
  },
  async run(args: Namespace): Promise<number> {
    const options = args as Arguments;
    const toStdout = options.output === "-";
    if (toStdout && options.json)
      throw new UsageError("--json and the output can't both go to standard output");
    const tell = options.json ? () => undefined : toStdout ? printWarning : print;
    const tellWarnings = (warnings: readonly string[]): void => {
      if (!options.json) for (const warning of warnings) printWarning(`guestscope: warning: ${warning}`);
    };
    const progress = new Progress(!options.quiet);
    const format = outputFormatOf(options);
    const settings = writeOptions(options, format);
    const writer = await format.load(settings);
    const open = {
      partial: options.partial,
      progress: progress.update,
      unpackers: unpackersOf(options),
      findKernel: "later",
    } as const;
    return withGuest(options.input, args, open, async (guest) => {
      progress.done();
      refuseIdleThreads(options, format, guest);
      tellWarnings(guest.warnings);
      const extraction = await extractGuest(
        guest,
        writer,
        () => openOutput(options.output, { force: options.force }),
        {
          ...settings,
          partial: options.partial,
          irrevocable: toStdout,
          progress: progress.update,
          onWarnings: (warnings) => {
            progress.done();
            tellWarnings(warnings);
          },
          onMissing: (source, missing, unplaced) => {
            progress.done();
            tellMissing(source, missing, unplaced, options);
          },
        },
      ).finally(() => progress.done());
      if (options.json) printJson(documentOf(extraction, format, options));
      else if (extraction.written) tell(summary(extraction, format, options));
      else if (extraction.present + extraction.zero === 0)
        printError("guestscope: nothing written: none of that memory is in the input");
      else printError("guestscope: nothing written; --partial writes what is there");
      return extraction.written ? EXIT.good : EXIT.badInput;
    });
  },
};

/** The kind of output: as asked for, else by the name's extension, else the first there is. */
function outputFormatOf({ to, output }: Arguments): OutputFormat {
  const name = output.toLowerCase();
  const format =
    to === undefined
      ? (OUTPUTS.find(({ extensions }) => extensions.some((extension) => name.endsWith(extension))) ??
        OUTPUTS[0])
      : OUTPUTS.find(({ id }) => id === to);
  if (format === undefined) throw new UsageError(`no output format '${to}'`);
  return format;
}

/** @throws UsageError for options that don't apply to the format, or to its compression */
function writeOptions({ range, compress, level, threads }: Arguments, format: OutputFormat): WriteOptions {
  const { compressions, title } = format;
  const given = { "--compress": compress, "--level": level };
  const refuse = (why: string, options: readonly string[]): void => {
    for (const [option, value] of Object.entries(given))
      if (value !== undefined && options.includes(option)) throw new UsageError(`${option}: ${why}`);
  };
  const [usual] = compressions;
  if (usual === undefined) refuse(`a ${title} is not compressed`, Object.keys(given));
  const used = compress ?? usual;
  if (used !== undefined && !compressions.includes(used))
    throw new UsageError(`--compress ${used}: a ${title} can be ${compressions.join(", ")}`);
  const [least, most] = (used === undefined ? undefined : LEVELS[used]) ?? [0, -1];
  if (most < least) refuse(`compression '${used}' has no levels`, ["--level"]);
  else if (level !== undefined && (level < least || level > most))
    throw new UsageError(`--level ${level}: ${used} has levels from ${least} to ${most}`);
  return {
    ...(range === undefined ? {} : { range: parseAddressRange("--range", range) }),
    ...(compress === undefined ? {} : { compress }),
    ...(level === undefined ? {} : { level }),
    ...(threads === undefined ? {} : { threads }),
    startPackers: pageWorkersAhead,
  };
}

/** What unpacks the input's pages: one thread is this one. Of a range, it's seen when it is read whether threads pay. */
const unpackersOf = ({ threads, range }: Arguments): Unpackers | undefined =>
  threads === 1 ? undefined : { ...unpackWorkers(threads), ahead: range === undefined };

/** @throws UsageError for threads that neither the output nor the input has work for */
function refuseIdleThreads({ threads, compress }: Arguments, format: OutputFormat, guest: GuestImage): void {
  const isPacked = (compress ?? format.compressions[0] ?? "none") !== "none";
  if (threads === undefined || isPacked || guest.facts.specific?.kind === "kdump") return;
  throw new UsageError("--threads: neither the input nor the output has compressed pages");
}

/** vCPUs whose registers the output holds. */
function vcpusWritten({ vcpus }: GuestImage, { holds }: OutputFormat): number {
  return holds.vcpus ? vcpus.filter(({ registers }) => registers !== undefined).length : 0;
}

/** Bytes that the output takes on its disk; undefined where that isn't known: a pipe, a system without blocks. */
function diskUse(output: string): number | undefined {
  if (output === "-") return undefined;
  const stat = fs.statSync(output, { throwIfNoEntry: false });
  return stat?.isFile() === true && stat.blocks !== undefined ? stat.blocks * BLOCK : undefined;
}

function documentOf(
  { guest, ...report }: Extraction,
  format: OutputFormat,
  options: Arguments,
): ExtractDocument {
  return {
    schemaVersion: 1,
    kind: "extract",
    source: options.input,
    output: options.output,
    format: format.id,
    arch: guest.arch.name,
    vcpus: vcpusWritten(guest, format),
    vmcoreInfo: format.holds.vmcoreInfo && guest.facts.vmcoreInfo !== undefined,
    diskUse: report.written ? diskUse(options.output) : undefined,
    warnings: guest.warnings,
    ...(guest.rescue === undefined ? {} : { rescue: guest.rescue }),
    ...report,
  };
}

/** Regions listed without `--verbose`: a filtered dump may lack hundreds of thousands. */
const FEW = 100;

function tellMissing(
  guest: GuestImage,
  missing: readonly MemoryRange[],
  unplaced: readonly UnplacedBlock[],
  options: Arguments,
): void {
  if (options.json) return;
  for (const block of unplaced)
    printError(`guestscope: missing block '${block.name}' (${size(block.size)}): ${block.reason.text}`);
  const { present, zero, absent } = memoryTotals(guest.memory);
  // what makes us refuse is an error, what --partial leaves out a warning
  const tell = options.partial ? printWarning : printError;
  const whole = present + zero + absent;
  const listed = options.verbose ? missing : missing.filter((range) => !isExcluded(range));
  const excluded = missing.reduce(
    (sum, range) => (isExcluded(range) ? sum + range.end - range.start : sum),
    0,
  );
  if (excluded > 0)
    printWarning(
      `guestscope: the input's writer excluded ${size(excluded)} of memory (${percent(excluded, whole)}) on purpose`,
    );
  const shown = options.verbose ? listed : listed.slice(0, FEW);
  for (const line of missingLines(shown, whole)) tell(`guestscope: ${line}`);
  const rest = listed.length - shown.length;
  if (rest > 0) tell(`guestscope: and ${rest} more regions; --verbose lists them all`);
}

function summary(extraction: Extraction, format: OutputFormat, options: Arguments): string {
  const { guest, present, zero, absent } = extraction;
  const onDisk = diskUse(options.output);
  const { vcpus, vmcoreInfo } = format.holds;
  const parts = [
    size(extraction.size) + (onDisk === undefined ? "" : ` (${size(onDisk)} on disk)`),
    `${size(present + zero)} of guest memory`,
    vcpus ? `${vcpusWritten(guest, format)} of ${guest.vcpus.length} vCPUs` : "no vCPUs in this format",
    ...(vmcoreInfo ? [guest.facts.vmcoreInfo === undefined ? "no VMCOREINFO" : "VMCOREINFO"] : []),
  ];
  const excluded = extraction.missing.reduce(
    (sum, range) => (isExcluded(range) ? sum + range.end - range.start : sum),
    0,
  );
  const share = (bytes: number): string => `${size(bytes)} (${percent(bytes, present + zero + absent)})`;
  const lack =
    (excluded === 0 ? "" : `; ${share(excluded)} was excluded from the input on purpose`) +
    (absent === excluded ? "" : `; ${share(absent - excluded)} is missing`);
  return `${options.output}: ${format.title}, ${parts.join(", ")}${lack}`;
}
