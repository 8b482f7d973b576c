import type { ArgumentParser, Namespace } from "argparse";
import { UsageError } from "../findings/errors.js";
import { extractGuest, type Extraction } from "../guest/extract.js";
import type { GuestImage } from "../guest/image.js";
import { isExcluded, memoryTotals, type MemoryRange } from "../guest/memory.js";
import type { PageCompression, VmcoreWriter, WriteOptions, WriteReport } from "../guest/output-format.js";
import { openOutput } from "../io/node/output.js";
import { pageWorkersAhead } from "../io/node/page-workers.js";
import { OUTPUTS } from "../open/outputs.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { addGuestOptions, withGuest } from "./guest-input.js";
import { missingLines, percent } from "./present/memory.js";
import { Progress } from "./progress.js";
import { print, printError, printJson, size } from "./terminal.js";

const FORMAT_NAMES = OUTPUTS.map(({ id }) => id);
const COMPRESSIONS = [...new Set(OUTPUTS.flatMap(({ compressions }) => compressions))];

interface Arguments extends CommonArguments {
  readonly input: string;
  readonly output: string;
  readonly to: string;
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
  readonly vcpus: number;
  readonly vmcoreInfo: boolean;
  readonly warnings: readonly string[];
}

/** `guestscope extract`. */
export const command: Command = {
  name: "extract",
  summary: "write a guest's memory and processors as a vmcore that crash, drgn and others open",
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
      default: "elf",
      help: "kind of output (default elf)",
    });
    parser.add_argument("--compress", {
      choices: COMPRESSIONS,
      help: "compression of pages (kdump; default zlib)",
    });
    parser.add_argument("--level", { type: "int", metavar: "N", help: "level of that compression" });
    parser.add_argument("--threads", { type: "int", metavar: "N", help: "threads that compress" });
    parser.add_argument("--range", {
      metavar: "START-END",
      help: "only these guest-physical addresses, END exclusive (0x… for hexadecimal)",
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
    const tell = options.quiet || options.json ? () => undefined : toStdout ? printError : print;
    const tellWarnings = (warnings: readonly string[]): void => {
      if (!options.json) for (const warning of warnings) printError(`guestscope: warning: ${warning}`);
    };
    const progress = new Progress(!options.quiet);
    const settings = writeOptions(options);
    const format = OUTPUTS.find(({ id }) => id === options.to) ?? OUTPUTS[0];
    if (format === undefined) throw new UsageError(`no output format '${options.to}'`);
    const writer = await format.load(settings);
    const open = { partial: options.partial, progress: progress.update };
    return withGuest(options.input, args, open, async (guest) => {
      progress.done();
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
          onMissing: (source, missing) => {
            progress.done();
            tellMissing(source, missing, options);
          },
        },
      ).finally(() => progress.done());
      if (options.json) printJson(documentOf(extraction, writer, options));
      else if (extraction.written) tell(summary(extraction, writer, options));
      else if (extraction.present + extraction.zero === 0)
        printError("guestscope: nothing written: none of that memory is in the input");
      else printError("guestscope: nothing written; --partial writes what is there");
      return extraction.written ? EXIT.good : EXIT.badInput;
    });
  },
};

function writeOptions({ range, compress, level, threads }: Arguments): WriteOptions {
  return {
    ...(range === undefined ? {} : { range: parseRange(range) }),
    ...(compress === undefined ? {} : { compress }),
    ...(level === undefined ? {} : { level }),
    ...(threads === undefined ? {} : { threads }),
    startPackers: pageWorkersAhead,
  };
}

function documentOf(
  { guest, ...report }: Extraction,
  writer: VmcoreWriter,
  options: Arguments,
): ExtractDocument {
  return {
    schemaVersion: 1,
    kind: "extract",
    source: options.input,
    output: options.output,
    format: writer.id,
    arch: guest.arch.name,
    vcpus: guest.vcpus.filter(({ registers }) => registers !== undefined).length,
    vmcoreInfo: guest.facts.vmcoreInfo !== undefined,
    warnings: guest.warnings,
    ...report,
  };
}

/** Regions listed without `--verbose`: a filtered dump may lack hundreds of thousands. */
const FEW = 100;

function tellMissing(guest: GuestImage, missing: readonly MemoryRange[], options: Arguments): void {
  if (options.json) return;
  const { present, zero, absent } = memoryTotals(guest.memory);
  const listed = options.verbose ? missing : missing.filter((range) => !isExcluded(range));
  const excluded = missing.reduce(
    (sum, range) => (isExcluded(range) ? sum + range.end - range.start : sum),
    0,
  );
  if (excluded > 0) {
    const of = percent(excluded, present + zero + absent);
    printError(`guestscope: the input's writer excluded ${size(excluded)} of memory (${of}) on purpose`);
  }
  const shown = options.verbose ? listed : listed.slice(0, FEW);
  for (const line of missingLines(shown, present + zero + absent)) printError(`guestscope: ${line}`);
  const rest = listed.length - shown.length;
  if (rest > 0) printError(`guestscope: and ${rest} more regions; --verbose lists them all`);
}

function summary(
  { guest, present, zero, absent }: Extraction,
  writer: VmcoreWriter,
  options: Arguments,
): string {
  const registers = guest.vcpus.filter((vcpu) => vcpu.registers !== undefined).length;
  const parts = [
    `${size(present + zero)} of guest memory`,
    `${registers} of ${guest.vcpus.length} vCPUs`,
    guest.facts.vmcoreInfo === undefined ? "no VMCOREINFO" : "VMCOREINFO",
  ];
  const lack =
    absent === 0 ? "" : `; ${size(absent)} (${percent(absent, present + zero + absent)}) is missing`;
  return `${options.output}: ${writer.title}, ${parts.join(", ")}${lack}`;
}

/** `0x1000-0x2000`. */
function parseRange(text: string): { start: number; end: number } {
  const match = /^(0x[0-9a-f]+|\d+)-(0x[0-9a-f]+|\d+)$/i.exec(text);
  const [start, end] = [Number(match?.[1]), Number(match?.[2])];
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start < end) return { start, end };
  throw new UsageError(`--range ${text}: START-END is expected, START below END`);
}
