import type { ArgumentParser, Namespace } from "argparse";
import { isDamage, withoutDamage } from "../guest/damage.js";
import type { GuestImage } from "../guest/image.js";
import { memoryTotals, type MemoryRange } from "../guest/memory.js";
import { UsageError } from "../io/errors.js";
import { openOutput } from "../io/node/output.js";
import { selectMemory, type VmcoreWriter, type WriteOptions, type WriteReport } from "../vmcore/writer.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { addGuestOptions, withGuest } from "./guest-input.js";
import { missingLines, percent } from "./present/memory.js";
import { Progress } from "./progress.js";
import { print, printError, printJson, size } from "./terminal.js";

/** Outputs by name; loaded, and made ready for these options, when asked for. */
const WRITERS: Readonly<Record<string, (options: WriteOptions) => Promise<VmcoreWriter>>> = {
  elf: async () => (await import("../vmcore/elf/write.js")).elfWriter,
  kdump: async (options) => {
    const { pageWorkersAhead } = await import("../io/node/page-workers.js");
    const { createKdumpWriter, kdumpPacking } = await import("../vmcore/kdump/write.js");
    return createKdumpWriter(pageWorkersAhead(kdumpPacking(options), options.threads));
  },
  "xen-core": async () => (await import("../vmcore/xen-core/write.js")).xenCoreWriter,
  raw: async () => (await import("../vmcore/raw/write.js")).rawWriter,
  lime: async () => (await import("../vmcore/lime/write.js")).limeWriter,
};

const COMPRESSIONS = ["none", "zlib", "lzo", "snappy", "zstd"];

interface Arguments extends CommonArguments {
  readonly input: string;
  readonly output: string;
  readonly to: string;
  readonly compress?: string;
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
      choices: Object.keys(WRITERS),
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
    const progress = new Progress(!options.quiet);
    const range = options.range === undefined ? undefined : parseRange(options.range);
    const how: WriteOptions = {
      ...(range === undefined ? {} : { range }),
      ...(options.compress === undefined ? {} : { compress: options.compress }),
      ...(options.level === undefined ? {} : { level: options.level }),
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      progress: (done, total) => progress.update(done, total, "writing"),
    };
    const writer = await (WRITERS[options.to] ?? WRITERS.elf)?.(how);
    if (writer === undefined) throw new UsageError(`no output format '${options.to}'`);
    const open = { partial: options.partial, progress: progress.update };
    return withGuest(options.input, args, open, async (guest) => {
      progress.done();
      if (!options.json) tellWarnings(guest.warnings);
      const intact = async (): Promise<GuestImage> => {
        const checked = await withoutDamage(guest, (done, total) =>
          progress.update(done, total, "looking for damage"),
        ).finally(() => progress.done());
        if (!options.json) tellWarnings(checked.warnings.slice(guest.warnings.length));
        return checked;
      };
      const told = new Set<number>();
      const extractFrom = async (source: GuestImage): Promise<number> => {
        const before = selectMemory(source, range);
        if (before.present + before.zero === 0 && before.absent === 0) {
          throw new UsageError(
            `the guest has no memory ${range === undefined ? "at all" : "in that range"}`,
            {
              source: options.input,
            },
          );
        }
        tellMissing(
          source,
          before.missing.filter((range) => !told.has(range.start)),
          options,
        );
        for (const { start: at } of before.missing) told.add(at);
        const nothing = before.present + before.zero === 0;
        if (nothing || (before.absent > 0 && !options.partial)) {
          if (options.json) printJson(documentOf(source, writer, options, { ...before, size: 0 }, false));
          else if (nothing) printError("guestscope: nothing written: none of that memory is in the input");
          else printError("guestscope: nothing written; --partial writes what is there");
          return EXIT.badInput;
        }
        const report = await write(source, writer, options, how).finally(() => progress.done());
        if (options.json) printJson(documentOf(source, writer, options, report, true));
        else for (const line of summary(source, writer, options, report)) tell(line);
        return EXIT.good;
      };
      // what went to a pipe can't be taken back: there damage is looked for first
      if (options.partial && toStdout) return extractFrom(await intact());
      try {
        return await extractFrom(guest);
      } catch (error) {
        if (!options.partial || !isDamage(error)) throw error;
        const checked = await intact();
        if (checked === guest) throw error;
        return extractFrom(checked);
      }
    });
  },
};

function tellWarnings(warnings: readonly string[]): void {
  for (const warning of warnings) printError(`guestscope: warning: ${warning}`);
}

function documentOf(
  guest: GuestImage,
  writer: VmcoreWriter,
  options: Arguments,
  report: WriteReport,
  written: boolean,
): ExtractDocument {
  return {
    schemaVersion: 1,
    kind: "extract",
    source: options.input,
    output: options.output,
    format: writer.id,
    written,
    arch: guest.arch.name,
    vcpus: guest.vcpus.filter(({ registers }) => registers !== undefined).length,
    vmcoreInfo: guest.facts.vmcoreInfo !== undefined,
    warnings: guest.warnings,
    ...report,
  };
}

async function write(
  guest: GuestImage,
  writer: VmcoreWriter,
  options: Arguments,
  how: WriteOptions,
): Promise<WriteReport> {
  const sink = openOutput(options.output, { force: options.force });
  try {
    if (writer.needsRandomAccess && !("writeAt" in sink)) {
      throw new UsageError(`${writer.title} can't be written to a pipe: name a file`, { source: sink.name });
    }
    const report = await writer.write(guest, sink, how);
    sink.commit();
    return report;
  } catch (error) {
    sink.abandon();
    throw error;
  }
}

/** Regions listed without `--verbose`: a filtered dump may lack hundreds of thousands. */
const FEW = 100;

function tellMissing(guest: GuestImage, missing: readonly MemoryRange[], options: Arguments): void {
  if (missing.length === 0 || options.json) return;
  const { present, zero, absent } = memoryTotals(guest.memory);
  const shown = options.verbose ? missing : missing.slice(0, FEW);
  for (const line of missingLines(shown, present + zero + absent)) printError(`guestscope: ${line}`);
  const rest = missing.length - shown.length;
  if (rest > 0) printError(`guestscope: and ${rest} more regions; --verbose lists them all`);
}

function summary(
  guest: GuestImage,
  writer: VmcoreWriter,
  options: Arguments,
  report: WriteReport,
): readonly string[] {
  const { present, zero, absent } = report;
  const registers = guest.vcpus.filter(({ registers }) => registers !== undefined).length;
  const parts = [
    `${size(present + zero)} of guest memory`,
    `${registers} of ${guest.vcpus.length} vCPUs`,
    guest.facts.vmcoreInfo === undefined ? "no VMCOREINFO" : "VMCOREINFO",
  ];
  const lack =
    absent === 0 ? "" : `; ${size(absent)} (${percent(absent, present + zero + absent)}) is missing`;
  return [`${options.output}: ${writer.title}, ${parts.join(", ")}${lack}`];
}

/** `0x1000-0x2000`. */
function parseRange(text: string): { start: number; end: number } {
  const match = /^(0x[0-9a-f]+|\d+)-(0x[0-9a-f]+|\d+)$/i.exec(text);
  const [start, end] = [Number(match?.[1]), Number(match?.[2])];
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start < end) return { start, end };
  throw new UsageError(`--range ${text}: START-END is expected, START below END`);
}
