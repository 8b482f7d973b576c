#!/usr/bin/env node
import { DescriptorStream, openInput } from "../../io/node/files.js";
import { GuestscopeError, SystemError, UsageError } from "../../findings/errors.js";
import { Report } from "../../findings/report.js";
import { describeRecord, type Finding } from "../../findings/finding.js";
import { StreamSummary } from "../present/stream-summary.js";
import type { Layer } from "../../xen/stream/items.js";
import { verifyXenStream } from "../../xen/stream/verify.js";
import { EXIT } from "../command.js";
import { hex, print, printError } from "../terminal.js";
import { helpText, type OptionSpec, type ParsedOptions, parseOptions } from "./options.js";
import { type Log, streamLog, systemLog } from "./syslog.js";

const PROGRAM = "verify-stream-v2";
const USAGE = `${PROGRAM} [options]`;
const DESCRIPTION = "Verify a stream according to the v2 (or later) spec";

const OPTIONS: readonly OptionSpec[] = [
  { long: "help", short: "h", help: "show this help message and exit" },
  { long: "in", short: "i", metavar: "<FD or FILE>", help: "Stream to verify (defaults to stdin)" },
  { long: "verbose", short: "v", help: "Summarise stream contents" },
  { long: "quiet", short: "q", help: "Suppress all logging/errors" },
  {
    long: "format",
    short: "f",
    metavar: "<libxc|libxl|xl>",
    choices: ["libxc", "libxl", "xl"],
    help: "Format of the incoming stream (defaults to libxc)",
  },
  { long: "xl", short: "x", help: "Is an `xl` header present in the stream? (default no)" },
  { long: "syslog", help: "Log to syslog instead of stdout/stderr" },
];

const SILENT: Log = { info: () => undefined, error: () => undefined };

function describeFinding(finding: Finding): string {
  const record = finding.record === undefined ? "" : `${describeRecord(finding.record)}, `;
  return `${finding.severity}: ${finding.message} (${record}offset ${hex(finding.offset)}) [${finding.code}]`;
}

/** The layer that the stream begins with: `-f`, or the seed's `-x`. */
function outermost({ values, switches }: ParsedOptions): Layer {
  const format = values.get("format") as Layer | undefined;
  return switches.has("xl") && format === undefined ? "xl" : (format ?? "libxc");
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
  const log = switches.has("quiet")
    ? SILENT
    : switches.has("syslog")
      ? systemLog(PROGRAM)
      : streamLog({ infoToStderr: false });
  const spec = values.get("in") ?? "0";
  const report = new Report(spec);
  try {
    // a descriptor is shared: it is read in order, and no byte after the stream's end is taken
    const input = /^\d+$/.test(spec) ? new DescriptorStream(Number(spec), `fd ${spec}`) : openInput(spec);
    const summary = switches.has("verbose") ? new StreamSummary((line) => log.info(line)) : undefined;
    await verifyXenStream(input, report, {
      layer: outermost(parsed),
      exact: true,
      ...(summary === undefined ? {} : { onItem: (item, stream) => summary.add(item, stream) }),
    });
  } catch (error) {
    if (!(error instanceof GuestscopeError)) throw error;
    const what = /^\d+$/.test(spec) ? `fd ${spec}` : `file '${spec}'`;
    log.error(error instanceof SystemError ? `Unable to open ${what}: ${error.message}` : error.message);
    return EXIT.failure;
  }
  if (switches.has("verbose")) {
    for (const finding of report.findings) {
      if (finding.severity === "warning") log.info(describeFinding(finding));
    }
  }
  if (report.valid) return EXIT.good;
  const errors = report.findings.filter(({ severity }) => severity === "error");
  log.error(["Stream Error:", ...errors.map(describeFinding)].join("\n"));
  return EXIT.badInput;
}

/** Runs the program by the process's arguments, and sets its exit status. */
export async function run(): Promise<void> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
  process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
    printError(`Script Error:\n${(error as Error).stack ?? String(error)}\nPlease report this`);
    return EXIT.failure;
  });
}
