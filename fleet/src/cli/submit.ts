import * as path from "node:path";
import type { ArgumentParser, Namespace } from "argparse";
import { describeError, GuestscopeError, UsageError, VERSION } from "guestscope";
import { type Action, ACTIONS, type Order, type Task, taskOf } from "../jobs/task.js";
import { expand } from "../sources/expand.js";
import { inShard, parseShard } from "../sources/shard.js";
import {
  addQueueOptions,
  addRunOptions,
  type Command,
  type CommonArguments,
  EXIT,
  type QueueArguments,
  type RunArguments,
} from "./command.js";
import { printError } from "./terminal.js";

/** Arguments of `submit`. */
export interface SubmitArguments extends CommonArguments, QueueArguments, RunArguments {
  readonly action: Action;
  readonly sources: readonly string[];
  readonly list?: readonly string[];
  readonly strict: boolean;
  readonly output?: string;
  readonly to?: string;
  readonly pass?: readonly string[];
  readonly retry_failed: boolean;
  readonly max_waiting: number;
  readonly local: boolean;
  readonly shard?: string;
}

/** Ends of outputs' names by action and kind; the first kind is the default. */
const EXTENSIONS: Readonly<Partial<Record<Action, Readonly<Record<string, string>>>>> = {
  extract: { elf: ".vmcore", kdump: ".kdump", raw: ".raw", lime: ".lime", "xen-core": ".xen-core" },
  convert: { v3: ".save", v2: ".save" },
};

/** `guestscope-fleet submit`. */
export const command: Command = {
  name: "submit",
  summary: "put jobs into the queue, one for each source; or run them here (--local)",
  examples: [
    "guestscope-fleet submit verify --local /saves                  no Redis: runs here, results in guestscope-reports",
    "guestscope-fleet submit verify --redis redis://queue /mnt/saves '/mnt/old/*.save'",
    "guestscope-fleet submit verify --list urls.txt                 one path or (signed) URL a line",
    "guestscope-fleet submit extract --output /mnt/vmcores --to kdump --pass=--compress=zstd /mnt/saves",
    "guestscope-fleet submit verify --local --shard 0/8 /mnt/saves  an eighth of them",
  ],
  configure(parser: ArgumentParser): void {
    parser.add_argument("action", { choices: [...ACTIONS], help: "what to do: a command of guestscope" });
    parser.add_argument("sources", {
      metavar: "SOURCE",
      nargs: "*",
      help: "a file, a directory (with all below it), a glob pattern, an http(s) URL",
    });
    parser.add_argument("--list", {
      metavar: "FILE",
      action: "append",
      help: "sources, one a line; - is standard input",
    });
    parser.add_argument("--strict", {
      action: "store_true",
      help: "verify, convert: warnings count as errors",
    });
    parser.add_argument("--output", { metavar: "DIRECTORY", help: "extract, convert: where outputs go" });
    parser.add_argument("--to", {
      metavar: "KIND",
      help: "extract, convert: kind of output, as guestscope takes it",
    });
    parser.add_argument("--pass", {
      metavar: "OPTION",
      action: "append",
      help: "an option of the command, handed on (--pass=--partial); may be given again",
    });
    parser.add_argument("--retry-failed", { action: "store_true", help: "do those again that failed" });
    parser.add_argument("--max-waiting", {
      type: "int",
      metavar: "N",
      default: 100_000,
      help: "wait while so many jobs are in the queue (default 100000): Redis holds them in memory",
    });
    parser.add_argument("--local", {
      action: "store_true",
      help: "run the jobs here and now, without Redis",
    });
    parser.add_argument("--shard", {
      metavar: "I/N",
      help: "only part I (from 0) of N equal parts; /N takes I from the variable JOB_COMPLETION_INDEX",
    });
    addQueueOptions(parser);
    addRunOptions(parser);
  },
  async run(namespace: Namespace): Promise<number> {
    const args = namespace as SubmitArguments;
    const order = orderOf(args);
    if (args.sources.length === 0 && args.list === undefined) throw new UsageError("no source is named");
    let unusable = 0;
    const refuse = (error: GuestscopeError): void => {
      unusable += 1;
      printError(`guestscope-fleet: not submitted: ${describeError(error)}`);
    };
    const tasks = tasksOf(args, order, refuse);
    // loaded when needed: what runs here needs no client of Redis
    const status = args.local
      ? await (await import("./local.js")).runHere(tasks, args)
      : await (await import("./enqueue.js")).enqueue(tasks, args, () => unusable);
    return unusable > 0 ? EXIT.failure : status;
  },
};

async function* tasksOf(
  args: SubmitArguments,
  order: Order,
  refuse: (error: GuestscopeError) => void,
): AsyncGenerator<Task> {
  const shard = args.shard === undefined ? undefined : parseShard(args.shard, process.env);
  const wanted =
    shard === undefined ? undefined : (name: string): boolean => inShard(shard, path.resolve(name));
  for await (const source of expand({ names: args.sources, lists: args.list ?? [] }, wanted)) {
    if (source instanceof GuestscopeError) refuse(source);
    else yield taskOf(order, source, VERSION, args.retry_failed);
  }
}

/** @throws UsageError when options don't go with the action */
function orderOf({ action, strict, to, output, pass }: SubmitArguments): Order {
  const kinds = EXTENSIONS[action];
  if (kinds === undefined && (output !== undefined || to !== undefined))
    throw new UsageError(`${action} has no output: --output and --to don't go with it`);
  const takesStrict = action === "verify" || action === "convert";
  if (strict && !takesStrict) throw new UsageError(`--strict doesn't go with ${action}`);
  const options = [
    ...(strict ? ["--strict"] : []),
    ...(to === undefined ? [] : ["--to", to]),
    ...(pass ?? []),
  ];
  if (action === "verify" && pass !== undefined) throw new UsageError("--pass doesn't go with verify");
  if (kinds === undefined) return { action, options };
  if (output === undefined) throw new UsageError(`${action} needs --output DIRECTORY`);
  const extension = to === undefined ? Object.values(kinds)[0] : kinds[to];
  if (extension === undefined)
    throw new UsageError(`--to ${to}: one of ${Object.keys(kinds).join(", ")} is expected`);
  return { action, options, output: { directory: path.resolve(output), extension } };
}
