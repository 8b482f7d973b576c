import type { ArgumentParser, Namespace } from "argparse";
import { UsageError, VERSION } from "guestscope";
import { openOutput } from "guestscope/node";
import type { Result } from "../jobs/outcome.js";
import { csvHead, csvLine } from "../report/csv.js";
import { htmlHead, htmlRow, htmlRowSeparator, htmlTail } from "../report/html.js";
import { ResultStore } from "../report/store.js";
import { Summary } from "../report/summary.js";
import { addReportsOption, type Command, type CommonArguments, EXIT } from "./command.js";
import { counted, duration, resultLine, size } from "./terminal.js";

interface Arguments extends CommonArguments {
  readonly directories: readonly string[];
  readonly reports: string;
  readonly format?: string;
  readonly output: string;
  readonly force: boolean;
}

const FORMATS = ["text", "json", "jsonl", "csv", "html"];
const encoder = new TextEncoder();
/** Text is written in pieces of about so many characters. */
const PIECE = 1 << 18;

/** `guestscope-fleet report`. */
export const command: Command = {
  name: "report",
  summary: "make a report of results: text, JSON, JSON lines, CSV or one HTML file",
  examples: [
    "guestscope-fleet report",
    "guestscope-fleet report --format html --output report.html",
    "guestscope-fleet report --format csv host1-reports host2-reports > all.csv",
    "guestscope-fleet report --format jsonl | jq 'select(.status != \"good\") | .source'",
  ],
  configure(parser: ArgumentParser): void {
    parser.add_argument("directories", {
      metavar: "DIRECTORY",
      nargs: "*",
      help: "directories of results, in place of --reports; of an input with several results one is reported",
    });
    addReportsOption(parser);
    parser.add_argument("--format", {
      choices: FORMATS,
      help: "kind of report (default text; json with --json)",
    });
    parser.add_argument("-o", "--output", {
      metavar: "FILE",
      default: "-",
      help: "where it goes (default standard output)",
    });
    parser.add_argument("--force", { action: "store_true", help: "replace an existing file" });
  },
  async run(namespace: Namespace): Promise<number> {
    const args = namespace as Arguments;
    const format = args.format ?? (args.json ? "json" : "text");
    if (args.json && format !== "json")
      throw new UsageError(`--json and --format ${format} don't go together`);
    const stores = (args.directories.length === 0 ? [args.reports] : args.directories).map(
      (directory) => new ResultStore(directory),
    );
    const summary = new Summary();
    for await (const result of merged(stores)) summary.add(result);
    if (!args.quiet || args.output !== "-") await write(args, pieces(format, stores, summary));
    if (summary.systemFailures > 0) return EXIT.failure;
    return summary.counts.bad + summary.counts.failed > 0 ? EXIT.badInput : EXIT.good;
  },
};

/** Results of several directories, in order of their keys, each key once: of two results one that isn't failed. */
async function* merged(stores: readonly ResultStore[]): AsyncGenerator<Result> {
  const heads = await Promise.all(
    stores.map(async (store) => {
      const results = store.all();
      return { results, next: await results.next() };
    }),
  );
  for (;;) {
    let best: Result | undefined;
    for (const { next } of heads) {
      if (next.done === true) continue;
      const isBetter =
        best === undefined ||
        next.value.key < best.key ||
        (next.value.key === best.key && best.status === "failed" && next.value.status !== "failed");
      if (isBetter) best = next.value;
    }
    if (best === undefined) return;
    yield best;
    for (const head of heads)
      if (head.next.done !== true && head.next.value.key === best.key) head.next = await head.results.next();
  }
}

async function write(args: Arguments, text: AsyncIterable<string>): Promise<void> {
  const sink = openOutput(args.output, { force: args.force });
  try {
    let waiting = "";
    for await (const piece of text) {
      waiting += piece;
      if (waiting.length < PIECE) continue;
      await sink.write(encoder.encode(waiting));
      waiting = "";
    }
    await sink.write(encoder.encode(waiting));
    sink.commit();
  } catch (error) {
    sink.abandon();
    throw error;
  }
}

async function* pieces(
  format: string,
  stores: readonly ResultStore[],
  summary: Summary,
): AsyncGenerator<string> {
  const { counts, total, codes, bytes, seconds } = summary;
  if (format === "html") {
    yield htmlHead(summary, VERSION, new Date());
    let separator = "";
    for await (const result of merged(stores)) {
      yield separator + htmlRow(result);
      separator = htmlRowSeparator;
    }
    yield htmlTail;
  } else if (format === "csv") {
    yield csvHead;
    for await (const result of merged(stores)) yield csvLine(result);
  } else if (format === "jsonl") {
    for await (const result of merged(stores)) yield `${JSON.stringify(result)}\n`;
  } else if (format === "json") {
    const head = {
      schemaVersion: 1,
      kind: "fleet-report",
      inputs: total,
      ...counts,
      bytes,
      codes: Object.fromEntries(codes),
    };
    yield `${JSON.stringify(head, undefined, 2).slice(0, -2)},\n  "results": [`;
    let separator = "\n";
    for await (const result of merged(stores)) {
      yield `${separator}${JSON.stringify(result)}`;
      separator = ",\n";
    }
    yield "\n  ]\n}\n";
  } else {
    for await (const result of merged(stores)) if (result.status !== "good") yield `${resultLine(result)}\n`;
    yield `${counted(total, "input")}: ${counts.good} good, ${counts.bad} bad, ${counts.failed} failed; ${size(bytes)}, ${duration(seconds)} of work\n`;
    for (const [code, count] of codes) yield `  ${String(count).padStart(6)}  ${code}\n`;
  }
}
