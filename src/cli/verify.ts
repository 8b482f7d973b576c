import type { Finding } from "../findings/finding.js";
import { describeRecord } from "../findings/finding.js";
import type { Report } from "../findings/report.js";
import type { VerifyOptions } from "../guest/options.js";
import { headWarnings } from "../guest/head.js";
import { mapPicture, rescueMap, type RescueMap } from "../guest/rescue-map.js";
import { doubtfulLines } from "../guest/salvage.js";
import { type ByteSource, type ByteStream, isByteSource } from "../io/byte-source.js";
import { FormatError, GuestscopeError, UsageError } from "../findings/errors.js";
import { openGuest, verify, type Verification } from "../open/open.js";
import { verifyPacked } from "../open/verify-packed.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { type ErrorData, errorData, failureText } from "./failure.js";
import { addSnapshotOption } from "./snapshot-option.js";
import { addStreamOptions } from "./stream-options.js";
import { openFile } from "../io/node/files.js";
import { counted } from "./present/presenter.js";
import { Progress } from "./progress.js";
import { readableInput } from "./readable-input.js";
import { openNamed } from "./web-input.js";
import { hex, paint, print, printError, printJson, tableLines } from "./terminal.js";

interface Arguments extends CommonArguments {
  readonly inputs: readonly string[];
  readonly strict: boolean;
  readonly snapshot?: string;
  readonly channel?: readonly string[];
  readonly offset?: number;
  readonly map: boolean;
}

const COLOURS = { error: "red", warning: "yellow", note: "cyan" } as const;

function findingLines(finding: Finding): string[] {
  const where = [
    `at ${hex(finding.offset)}`,
    ...(finding.record === undefined ? [] : [describeRecord(finding.record)]),
  ].join(", ");
  const severity = paint([COLOURS[finding.severity], "bold"], finding.severity.padEnd(7));
  return [`  ${severity}  ${finding.message}`, `           ${paint("dim", `${where} [${finding.code}]`)}`];
}

function reportLines(report: Report, verbose: boolean): string[] {
  const shown = report.findings.filter(({ severity }) => verbose || severity !== "note");
  const lines = shown.flatMap(findingLines);
  for (const [code, more] of report.omitted)
    lines.push(`  … and ${counted(more, "more finding")} of ${code}`);
  const notes = report.count("note");
  if (!verbose && notes > 0) lines.push(paint("dim", `  ${counted(notes, "note")}: --verbose shows them`));
  return lines;
}

function verdictOf({ report }: Verification): string {
  return paint(report.valid ? ["green", "bold"] : ["red", "bold"], report.verdict);
}

/** An input that was checked, with the map of it that was asked for. */
interface Checked extends Verification {
  readonly map?: RescueMap;
}

/** Opens the guest of an input as far as it can be read, for the map of what is left. @throws UsageError for a pipe */
async function drawMap(input: ByteSource | ByteStream, options: VerifyOptions): Promise<RescueMap> {
  if (!isByteSource(input))
    throw new UsageError("--map: must be a file that can be read at any offset", { source: input.name });
  try {
    const guest = await openGuest(input, {
      ...options,
      partial: true,
      findKernel: false,
      progress: () => undefined,
    });
    await guest.close?.();
    return rescueMap(input.size, guest.rescue);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const lost = [{ start: 0, end: input.size, proof: 0, what: `nothing can be read: ${error.message}` }];
    return rescueMap(input.size, { lost, doubtful: [] });
  }
}

/** The map in lines: a picture where there is a terminal, then each part. */
function mapLines(map: RescueMap): string[] {
  const { columns, isTTY } = process.stdout;
  const width = Math.min(Math.max(10, (columns || 80) - 4), 160);
  const picture = isTTY ? [`  [${mapPicture(map, width - 2)}]`] : [];
  const rows = map.parts.map(({ offset, length, state, what, proof }) => [
    hex(offset),
    String(length),
    state,
    [
      ...(what === undefined ? [] : [what]),
      ...(proof === undefined || proof === 0
        ? []
        : [`${counted(proof, "record")} in a row prove where reading goes on`]),
    ].join("; "),
  ]);
  const table = tableLines(
    [
      { title: "OFFSET", align: "right" },
      { title: "BYTES", align: "right" },
      { title: "STATE" },
      { title: "WHAT" },
    ],
    rows,
  );
  const memory = doubtfulLines(map.memory).map((line) => `doubtful ${line}`);
  const lines = [...table, ...headWarnings(map.head ?? []), ...memory];
  return [...picture, ...lines.map((line) => `  ${line}`)];
}

async function verifyInput(
  name: string,
  options: VerifyOptions & { strict: boolean; map: boolean },
  say: boolean,
): Promise<Checked> {
  const opened = await openNamed(name, say);
  try {
    const proven =
      isByteSource(opened.input) && !options.map ? await verifyPacked(opened.input, options) : undefined;
    if (proven !== undefined) return proven;
    const progress = (bytes: number): void => options.progress?.(bytes, undefined);
    const readable = await readableInput(opened.input, { progress }, options.map);
    try {
      const checked = await verify(readable.input, options);
      return options.map ? { ...checked, map: await drawMap(readable.input, options) } : checked;
    } finally {
      readable.close();
    }
  } finally {
    opened.close();
  }
}

/** A packed input, for programs. */
export interface PackedData {
  readonly compression: string;
  /** `cut`: the packed data end early; `damaged`: they can't be unpacked any further. */
  readonly state: "whole" | "cut" | "damaged";
  /** Bytes that were unpacked. */
  readonly unpacked: number;
  /** Where the packed input ends early, or near which byte it is damaged. */
  readonly offset?: number;
  /** What is lost in its middle. */
  readonly lost?: readonly LostPackedData[];
}

/** Packed data that don't unpack, with others after them. */
export interface LostPackedData {
  /** In what the input unpacks to, as all offsets. */
  readonly offset: number;
  /** Bytes that are missing there; null: not known, so that offsets after them only say in what order bytes come. */
  readonly length: number | null;
  readonly packedOffset: number;
  readonly packedLength: number;
}

/** An input that was checked, for programs. */
export interface VerifiedInput {
  readonly source: string;
  /** `xen-stream` …; null for an input of no known format. */
  readonly format: string | null;
  /** What the input was unpacked from: offsets of findings are in what came of it. */
  readonly packed?: PackedData;
  readonly valid: boolean;
  /** What a verdict rests on. */
  readonly checked: "structure";
  /** `valid`, `invalid: 1 error` … */
  readonly verdict: string;
  readonly errors: number;
  readonly warnings: number;
  readonly notes: number;
  readonly findings: readonly Finding[];
  /** Findings left out of `findings`, by code. */
  readonly omitted: Readonly<Record<string, number>>;
  /** With `--map`: what is left of the input. */
  readonly map?: RescueMap;
}

/** An input that could not be checked, for programs. */
export interface FailedInput {
  readonly source: string;
  readonly valid: false;
  readonly error: ErrorData;
}

/** What `verify --json` prints: every input, in the order given. */
export interface VerificationDocument {
  readonly schemaVersion: 1;
  readonly kind: "verification";
  readonly inputs: readonly (VerifiedInput | FailedInput)[];
}

function packedData({ compression, tear, size, lost, doubtful }: PackedInput): PackedData {
  const isDamaged = (lost ?? []).length + (doubtful ?? []).length > 0 || tear?.isCut === false;
  return {
    compression,
    state: isDamaged ? "damaged" : tear === undefined ? "whole" : "cut",
    unpacked: size,
    ...(tear && { offset: tear.packedOffset }),
    ...(lost === undefined
      ? {}
      : {
          lost: lost.map(({ start, end, isMeasured, packedStart, packedEnd }) => ({
            offset: start,
            length: isMeasured ? end - start : null,
            packedOffset: packedStart,
            packedLength: packedEnd - packedStart,
          })),
        }),
  };
}

type PackedInput = NonNullable<Verification["packed"]>;

function toDocument({ report, format, packed, map }: Checked): VerifiedInput {
  return {
    source: report.source,
    format: format ?? null,
    ...(packed === undefined ? {} : { packed: packedData(packed) }),
    valid: report.valid,
    checked: "structure",
    verdict: report.verdict,
    errors: report.count("error"),
    warnings: report.count("warning"),
    notes: report.count("note"),
    findings: report.findings,
    omitted: Object.fromEntries(report.omitted),
    ...(map === undefined ? {} : { map }),
  };
}

/** What a verdict rests on: these formats have no checksums, so that changed contents can't be known. */
const CHECKED = "checked: structure; contents have no checksum in these formats";

export const command: Command = {
  name: "verify",
  summary: "check inputs against the specification of their format; say what is wrong and where",
  examples: [
    "guestscope verify web01.save",
    "ssh host 'xl save web01 /dev/stdout' | guestscope verify -",
    "guestscope verify --strict *.save",
    "guestscope verify --json web01.save | jq '.inputs[0].findings'",
    "guestscope verify --map damaged.save",
  ],
  configure(parser) {
    parser.add_argument("inputs", {
      metavar: "INPUT",
      nargs: "+",
      help: "files, or - for standard input",
    });
    parser.add_argument("--strict", { action: "store_true", help: "count warnings as errors" });
    parser.add_argument("--map", {
      action: "store_true",
      help: "what of the input is whole, lost and doubtful, part by part",
    });
    addSnapshotOption(parser);
    addStreamOptions(parser);
  },
  async run(args) {
    const { inputs, strict, snapshot, channel, offset, map, json, quiet, verbose } = args as Arguments;
    const done: Checked[] = [];
    const documents: (VerifiedInput | FailedInput)[] = [];
    let failed = false;
    let damaged = false;
    for (const name of inputs) {
      const progress = new Progress(!quiet);
      try {
        const how = {
          strict,
          map,
          qcow2: { snapshot },
          qemu: { channels: channel, offset },
          openFile: async (path: string) => openFile(path),
          progress: progress.update,
        };
        const result = await verifyInput(name, how, !quiet && !json).finally(() => progress.done());
        done.push(result);
        documents.push(toDocument(result));
        if (json || quiet) continue;
        const { title } = result;
        print(`${paint("bold", result.report.source)}${title === undefined ? "" : `: ${title}`}`);
        for (const line of reportLines(result.report, verbose)) print(line);
        if (result.map !== undefined) {
          const { packed } = result;
          if (packed !== undefined)
            print(paint("dim", `  offsets are in what the ${packed.compression} data unpack to`));
          for (const line of mapLines(result.map)) print(line);
        }
        if (inputs.length === 1 && result.report.valid) print(paint("dim", `  ${CHECKED}`));
        print(inputs.length === 1 ? verdictOf(result) : `  ${verdictOf(result)}`);
      } catch (error) {
        if (!(error instanceof GuestscopeError)) throw error;
        if (error instanceof FormatError) damaged = true;
        else failed = true;
        documents.push({ source: name, valid: false, error: errorData(error) });
        printError(failureText(error));
      }
    }
    const valid = done.filter(({ report }) => report.valid).length;
    if (json) {
      printJson({ schemaVersion: 1, kind: "verification", inputs: documents } satisfies VerificationDocument);
    } else if (!quiet && inputs.length > 1) {
      const rest = [
        ...(done.length > valid ? [`${done.length - valid} invalid`] : []),
        ...(inputs.length > done.length ? [`${inputs.length - done.length} not checked`] : []),
      ];
      if (valid > 0) print(paint("dim", CHECKED));
      print(`${counted(inputs.length, "input")}: ${[`${valid} valid`, ...rest].join(", ")}`);
    }
    if (failed) return EXIT.failure;
    return valid === done.length && !damaged ? EXIT.good : EXIT.badInput;
  },
};
