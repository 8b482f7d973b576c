import type { Namespace } from "argparse";
import type { GuestImage } from "../guest/image.js";
import { UsageError } from "../findings/errors.js";
import { kernelClock } from "../linux/clock.js";
import { callerName, formatLogRecord } from "../linux/log/format.js";
import { logSourceOf } from "../linux/log/kernel-log.js";
import { readLog } from "../linux/log/read.js";
import { LOG_FACILITIES, LOG_LEVELS, type LogRecord } from "../linux/log/record.js";
import { type Command, EXIT } from "./command.js";
import type { LinuxLogDocument, LogRecordRow, LogRemark } from "./guest-documents.js";
import {
  addKernelOptions,
  type KernelArguments,
  openKernelOf,
  printable,
  withAnyGuest,
} from "./kernel-input.js";
import { print, printError, printJson } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly level?: string;
  readonly since?: string;
  readonly caller: boolean;
}

/** Remarks printed: a damaged ring has one a record. */
const MOST_REMARKS = 20;

/** The levels of `err,warn`, `err+` (and worse), `3`. */
function parseLevels(text: string): ReadonlySet<number> {
  const levels = new Set<number>();
  for (const part of text.split(",")) {
    const name = part.replace(/\+$/, "");
    const number = /^[0-7]$/.test(name) ? Number(name) : LOG_LEVELS.findIndex((level) => level === name);
    if (number === -1)
      throw new UsageError(
        `--level ${part}: levels are ${LOG_LEVELS.join(", ")}, or 0 to 7; 'err+' means err and worse`,
      );
    for (let level = part.endsWith("+") ? 0 : number; level <= number; level += 1) levels.add(level);
  }
  return levels;
}

/** Nanoseconds since boot of `12.5` (seconds since boot) or of a date. */
async function parseSince(text: string, guest: GuestImage, args: Namespace): Promise<bigint> {
  if (/^\d{1,12}(\.\d{1,9})?$/.test(text)) {
    const [whole = "0", fraction = ""] = text.split(".");
    return BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, "0"));
  }
  const date = Date.parse(text);
  if (Number.isNaN(date))
    throw new UsageError(`--since ${text}: give seconds since boot, or a date such as 2026-11-29T06:00:00Z`);
  const { wall, monotonic } = await kernelClock(await openKernelOf(guest, args));
  const since = date * 1e6 - (wall - monotonic);
  return since <= 0 ? 0n : BigInt(Math.round(since));
}

function document(record: LogRecord): LogRecordRow {
  const { seq, tsNsec, level, facility, caller, comm, device, text } = record;
  return {
    ...(seq === undefined ? {} : { seq: Number(seq) }),
    ...(tsNsec === undefined ? {} : { time: Number(tsNsec) }),
    ...(level === undefined ? {} : { level, levelName: LOG_LEVELS[level] }),
    ...(facility === undefined
      ? {}
      : { facility, facilityName: LOG_FACILITIES[facility] ?? String(facility) }),
    ...(caller === undefined ? {} : { caller: callerName(caller) }),
    ...(comm === undefined ? {} : { comm }),
    ...(device === undefined ? {} : { device }),
    text,
  };
}

async function showLog(guest: GuestImage, args: Namespace): Promise<number> {
  const { input, json, quiet, level, since, caller } = args as Arguments;
  const style = caller ? { caller } : {};
  const levels = level === undefined ? undefined : parseLevels(level);
  const from = since === undefined ? undefined : await parseSince(since, guest, args);
  const remarks: LogRemark[] = [];
  const records: LogRecordRow[] = [];
  const report = (rule: Omit<LogRemark, "message">, message: string): void => {
    remarks.push({ code: rule.code, severity: rule.severity, message });
  };
  for await (const record of readLog(await logSourceOf(guest), report)) {
    if (levels !== undefined && (record.level === undefined || !levels.has(record.level))) continue;
    if (from !== undefined && (record.tsNsec ?? 0n) < from) continue;
    if (json) records.push(document(record));
    else if (!quiet) {
      const line = formatLogRecord(record, style);
      if (line !== undefined) print(line);
    }
  }
  if (json)
    printJson({
      schemaVersion: 1,
      kind: "linux-log",
      source: input,
      records,
      troubles: remarks,
    } satisfies LinuxLogDocument);
  else if (!quiet) {
    for (const { code, severity, message } of remarks.slice(0, MOST_REMARKS))
      printError(`guestscope: ${severity}: ${printable(message)} [${code}]`);
    if (remarks.length > MOST_REMARKS)
      printError(`guestscope: and ${remarks.length - MOST_REMARKS} more remarks of this kind`);
  }
  return remarks.every(({ severity }) => severity === "note") ? EXIT.good : EXIT.badInput;
}

export const command: Command = {
  name: "log",
  summary: "print the kernel log of a Linux guest, as dmesg does, from its own memory",
  examples: [
    "guestscope log web01.save",
    "guestscope log --level err+ core.4711",
    "guestscope log --since 120 --json web01.save | jq -r '.records[].text'",
  ],
  configure(parser) {
    addKernelOptions(parser);
    parser.add_argument("--level", {
      metavar: "LIST",
      help: `only these levels, by name (${LOG_LEVELS.join(", ")}) or number; 'err+' for err and worse`,
    });
    parser.add_argument("--caller", {
      action: "store_true",
      help: "with the task or CPU that logged each line (shown anyway where the kernel keeps its name)",
    });
    parser.add_argument("--since", {
      metavar: "TIME",
      help: "only what was logged from then on: seconds since boot, or a date",
    });
  },
  async run(args) {
    return withAnyGuest(args, async (guest) => showLog(guest, args));
  },
};
