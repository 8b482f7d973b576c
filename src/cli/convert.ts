import type { ArgumentParser, Namespace } from "argparse";
import { UsageError } from "../findings/errors.js";
import { openInput } from "../io/node/files.js";
import { openOutput } from "../io/node/output.js";
import type { OutputFormat } from "../xen/legacy/emit.js";
import type { GuestKind, ToolstackWidth } from "../xen/legacy/layout.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { legacyInput } from "./given-input.js";
import { runConversion } from "./conversion.js";
import { conversionLines, describeChunk, findingLines } from "./present/xen-legacy.js";
import { Progress } from "./progress.js";
import { print, printJson, printWarning } from "./terminal.js";

interface Arguments extends CommonArguments {
  readonly input: string;
  readonly output: string;
  readonly to: "v2" | "v3";
  readonly format?: OutputFormat;
  readonly width?: "32" | "64";
  readonly guest?: GuestKind;
  readonly strict: boolean;
  readonly partial: boolean;
  readonly allow_loss: boolean;
  readonly skip_qemu: boolean;
  readonly spool_dir?: string;
  readonly force: boolean;
}

/** `guestscope convert`. */
export const command: Command = {
  name: "convert",
  summary: "convert a legacy Xen stream (Xen 3.x to 4.5) to version 3 or 2",
  examples: [
    "guestscope convert old.save new.save",
    "guestscope convert --to v2 --format libxc old.save new.stream",
    "ssh host cat old.save | guestscope convert --format xl - - | xl restore /dev/stdin",
  ],
  configure(parser: ArgumentParser): void {
    parser.add_argument("input", {
      metavar: "INPUT",
      help: "legacy stream, compressed or not; - is standard input",
    });
    parser.add_argument("output", { metavar: "OUTPUT", help: "where it goes; - is standard output" });
    parser.add_argument("--to", {
      choices: ["v2", "v3"],
      default: "v3",
      help: "version of the output (default v3)",
    });
    parser.add_argument("-f", "--format", {
      choices: ["libxc", "libxl", "xl"],
      help: "outermost layer of the output (default: that of the input). From a pipe without an xl header the input's layer shows only at its end: with this option a plain HVM stream is written as it comes",
    });
    parser.add_argument("-w", "--width", {
      choices: ["32", "64"],
      help: "word size of the toolstack that wrote the input (default: as the stream shows)",
    });
    parser.add_argument("-g", "--guest-type", "--guest", {
      dest: "guest",
      choices: ["hvm", "pv"],
      help: "kind of guest (default: as the stream shows)",
    });
    parser.add_argument("--skip-qemu", {
      action: "store_true",
      help: "there is no QEMU record, or it is to be left out",
    });
    parser.add_argument("--allow-loss", {
      action: "store_true",
      help: "convert although guest data are lost (pages of persistent tmem pools)",
    });
    parser.add_argument("--partial", {
      action: "store_true",
      help: "convert what is left of a file that is damaged in its memory and whole in its tail",
    });
    parser.add_argument("--strict", { action: "store_true", help: "refuse where a warning would be given" });
    parser.add_argument("--spool-dir", {
      metavar: "DIR",
      help: "where pages wait when a stream from a pipe must be held back (default: the system's directory for temporary files)",
    });
    parser.add_argument("--force", { action: "store_true", help: "replace an existing output" });
  },
  async run(args: Namespace): Promise<number> {
    const options = args as Arguments;
    const toStdout = options.output === "-";
    if (toStdout && options.json)
      throw new UsageError("--json and the output can't both go to standard output");
    const printLine = toStdout ? printWarning : print;
    const file = openInput(options.input, { waiting: toStdout ? "block" : "yield" });
    const output = openOutput(options.output, { force: options.force });
    const given = await legacyInput(file, options.spool_dir).catch((error: unknown) => {
      output.abandon();
      throw error;
    });
    const progress = new Progress(!options.quiet && !options.verbose);
    const report = await runConversion({
      input: given.input,
      output,
      ...(options.spool_dir === undefined ? {} : { spoolDirectory: options.spool_dir }),
      options: {
        version: options.to === "v2" ? 2 : 3,
        ...(options.format === undefined ? {} : { format: options.format }),
        ...(options.width === undefined ? {} : { width: Number(options.width) as ToolstackWidth }),
        ...(options.guest === undefined ? {} : { guest: options.guest }),
        strict: options.strict,
        partial: options.partial,
        allowLoss: options.allow_loss,
        skipQemu: options.skip_qemu,
        ...(options.verbose && !options.json
          ? { onChunk: (chunk) => describeChunk(chunk).forEach(printLine) }
          : {}),
        progress: progress.update,
      },
    }).finally(() => {
      progress.done();
      given.close();
    });
    if (options.json) {
      printJson(report);
      return EXIT.good;
    }
    for (const line of findingLines(report)) printWarning(line);
    for (const line of conversionLines(report)) printLine(line);
    return EXIT.good;
  },
};
