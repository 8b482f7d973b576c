#!/usr/bin/env node
import * as fs from "node:fs";
import { sliceSource } from "../../io/byte-source.js";
import type { ByteSource } from "../../io/byte-source.js";
import { describeError, GuestscopeError, UsageError } from "../../findings/errors.js";
import { DescriptorStream, descriptorPosition, FileSource, openInput } from "../../io/node/files.js";
import { openOutput } from "../../io/node/output.js";
import { VERSION } from "../../version.js";
import type { GuestKind, ToolstackWidth } from "../../xen/legacy/layout.js";
import { EXIT } from "../command.js";
import { runConversion } from "../conversion.js";
import { conversionLines, describeChunk, findingLines } from "../present/xen-legacy.js";
import { print, printError } from "../terminal.js";
import { helpText, type OptionSpec, parseOptions, type ParsedOptions } from "./options.js";
import { streamLog, systemLog } from "./syslog.js";

const PROGRAM = "convert-legacy-stream";
const USAGE = `${PROGRAM} [options] -i INPUT -o OUTPUT -w WIDTH -g GUEST`;
const DESCRIPTION = "Convert a legacy stream to a v3 stream";

const OPTIONS: readonly OptionSpec[] = [
  { long: "help", short: "h", help: "show this help message and exit" },
  { long: "version", help: "show program's version number and exit" },
  { long: "in", short: "i", metavar: "<FD or FILE>", help: "Legacy input to convert" },
  { long: "out", short: "o", metavar: "<FD or FILE>", help: "v3 format output" },
  {
    long: "width",
    short: "w",
    metavar: "<32/64>",
    choices: ["32", "64"],
    help: "Legacy toolstack bitness; the stream is believed where it shows another",
  },
  {
    long: "guest-type",
    short: "g",
    metavar: "<pv/hvm>",
    choices: ["pv", "hvm"],
    help: "Type of guest in stream",
  },
  {
    long: "format",
    short: "f",
    metavar: "<libxc|libxl>",
    choices: ["libxc", "libxl"],
    help: "Desired format of the outgoing stream (defaults to libxc)",
  },
  { long: "verbose", short: "v", help: "Summarise stream contents" },
  { long: "xl", short: "x", help: "An `xl` header is present in the stream (the output is one for xl then)" },
  { long: "skip-qemu", help: "Skip processing of the qemu tail" },
  { long: "syslog", help: "Log to syslog instead of stdout/err" },
];

/** Exit status for a bad stream, and for options that are missing. */
const STREAM_ERROR = EXIT.badInput;

interface Input {
  readonly input: FileSource | DescriptorStream;
  readonly reread?: ByteSource;
}

/**
 * A descriptor is read in order, so that whoever shares it finds it after the stream's last byte. Where it is a
 * file it can be read again beside that, and nothing needs spooling.
 */
function openLegacy(spec: string, waiting: "block" | "yield"): Input {
  if (!/^\d+$/.test(spec)) return { input: openInput(spec, { waiting }) };
  const fd = Number(spec);
  const opened = openInput(spec, { waiting, descriptors: true });
  const stat = fs.fstatSync(fd);
  if (!stat.isFile()) return { input: opened };
  const start = descriptorPosition(fd);
  if (start === undefined) return { input: new DescriptorStream(fd, `fd ${fd}`) };
  return {
    input: new DescriptorStream(fd, `fd ${fd}`),
    reread: sliceSource(new FileSource(fd, `fd ${fd}`), start, stat.size - start),
  };
}

async function main(argv: readonly string[]): Promise<number> {
  let parsed: ParsedOptions;
  try {
    parsed = parseOptions(OPTIONS, argv);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    printError(`Usage: ${USAGE}\n\n${PROGRAM}: error: ${error.message}`);
    return EXIT.failure;
  }
  const { values, switches } = parsed;
  if (switches.has("help")) {
    print(helpText(USAGE, DESCRIPTION, OPTIONS));
    return EXIT.good;
  }
  if (switches.has("version")) {
    print(VERSION);
    return EXIT.good;
  }
  const [from, to, width, guest] = ["in", "out", "width", "guest-type"].map((name) => values.get(name));
  if (from === undefined || to === undefined || width === undefined || guest === undefined) {
    printError(helpText(USAGE, DESCRIPTION, OPTIONS));
    return STREAM_ERROR;
  }
  const log = switches.has("syslog")
    ? systemLog(PROGRAM)
    : streamLog({ infoToStderr: to === "1" || to === "-" });
  const verbose = switches.has("verbose");
  try {
    // opened first, so that an output that is the input is known as such
    const legacy = openLegacy(from, /^(\d+|-)$/.test(to) ? "block" : "yield");
    const output = openOutput(to, { force: true, descriptors: true });
    const report = await runConversion({
      ...legacy,
      output,
      options: {
        version: 3,
        format:
          switches.has("xl") && values.get("format") !== "libxc"
            ? "xl"
            : values.get("format") === "libxl"
              ? "libxl"
              : "libxc",
        width: Number(width) as ToolstackWidth,
        widthIsGuess: true,
        xlHeader: switches.has("xl"),
        guest: guest as GuestKind,
        skipQemu: switches.has("skip-qemu"),
        keepQemuRecord: true,
        ...(verbose ? { onChunk: (chunk) => describeChunk(chunk).forEach((line) => log.info(line)) } : {}),
      },
    });
    for (const line of findingLines(report)) log.error(line);
    if (verbose) for (const line of conversionLines(report)) log.info(line);
    return EXIT.good;
  } catch (error) {
    if (!(error instanceof GuestscopeError)) throw error;
    log.error(`Stream Error:\n${describeError(error)}`);
    return STREAM_ERROR;
  }
}

/** Runs the program by the process's arguments, and sets its exit status. */
export async function run(): Promise<void> {
  process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
    printError(`Script Error:\n${(error as Error).stack ?? String(error)}\nPlease report this`);
    return EXIT.failure;
  });
}
