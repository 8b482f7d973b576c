import * as os from "node:os";
import { ArgumentParser, type Namespace, RawDescriptionHelpFormatter } from "argparse";
import { UsageError } from "guestscope";
import { readSecret } from "./secret.js";
import type { RedisAddress } from "../queue/connection.js";

/** Exit statuses, those of guestscope: 0 good, 1 an input is bad, 2 something could not be done. */
export const EXIT = { good: 0, badInput: 1, failure: 2 } as const;

/** One subcommand of `guestscope-fleet`. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Shown below the options by `--help`. */
  readonly examples: readonly string[];
  configure(parser: ArgumentParser): void;
  /** Returns the exit status. Errors of the library may be thrown. */
  run(args: Namespace): Promise<number>;
}

/** Arguments that every command has. */
export interface CommonArguments {
  readonly json: boolean;
  readonly quiet: boolean;
}

/** A parser with the options that every command has. */
export function createParser(command: Command, version: string): ArgumentParser {
  const parser = new ArgumentParser({
    prog: `guestscope-fleet ${command.name}`,
    description: command.summary,
    epilog: `examples:\n${command.examples.map((line) => `  ${line}`).join("\n")}`,
    formatter_class: RawDescriptionHelpFormatter,
  });
  parser.add_argument("--json", { action: "store_true", help: "one JSON document on standard output" });
  parser.add_argument("-q", "--quiet", { action: "store_true", help: "print nothing but errors" });
  parser.add_argument("--version", { action: "version", version: `guestscope-fleet ${version}` });
  command.configure(parser);
  return parser;
}

/** Arguments that say where the queue is. */
export interface QueueArguments {
  readonly redis: string;
  readonly redis_password_file?: string;
  readonly redis_ca?: string;
  readonly queue: string;
}

/** Adds the options that say where the queue is. */
export function addQueueOptions(parser: ArgumentParser): void {
  const group = parser.add_argument_group("queue");
  group.add_argument("--redis", {
    metavar: "URL",
    default: process.env.GUESTSCOPE_REDIS ?? "redis://127.0.0.1:6379",
    help: "redis://[user@]host[:port][/db], rediss:// for TLS (default: the variable GUESTSCOPE_REDIS, or this machine)",
  });
  group.add_argument("--redis-password-file", {
    metavar: "FILE",
    help: "file with the password (or set the variable GUESTSCOPE_REDIS_PASSWORD)",
  });
  group.add_argument("--redis-ca", {
    metavar: "FILE",
    help: "certificates (PEM) to check the server's against",
  });
  group.add_argument("--queue", {
    metavar: "NAME",
    default: "guests",
    help: "name of the queue (default guests)",
  });
}

/** Where the queue is. @throws SystemError when the file of the password can't be read */
export function redisAddress(args: QueueArguments): RedisAddress {
  const password =
    args.redis_password_file === undefined
      ? process.env.GUESTSCOPE_REDIS_PASSWORD
      : readSecret(args.redis_password_file);
  return {
    url: args.redis,
    ...(password === undefined ? {} : { password }),
    ...(args.redis_ca === undefined ? {} : { ca: args.redis_ca }),
  };
}

/** Arguments of whoever runs jobs. */
export interface RunArguments {
  readonly concurrency: number;
  readonly reports: string;
  readonly memory: number;
  readonly time: number;
  readonly spool_dir: string;
}

/** Adds the options of whoever runs jobs. */
export function addRunOptions(parser: ArgumentParser): void {
  const group = parser.add_argument_group("running jobs");
  group.add_argument("-c", "--concurrency", {
    type: "int",
    metavar: "N",
    default: os.availableParallelism(),
    help: "jobs at the same time, each in a process of its own (default: processors of this machine)",
  });
  addReportsOption(group);
  group.add_argument("--memory", {
    type: "int",
    metavar: "MIB",
    default: 2048,
    help: "memory that one job may take (default 2048)",
  });
  group.add_argument("--time", {
    type: "int",
    metavar: "SECONDS",
    default: 3600,
    help: "time that one job may take (default 3600)",
  });
  group.add_argument("--spool-dir", {
    metavar: "DIRECTORY",
    default: os.tmpdir(),
    help: "directory for downloads and unpacked inputs (default: the system's for temporary files)",
  });
}

/** Adds the option that says where results are. */
export function addReportsOption(parser: Pick<ArgumentParser, "add_argument">): void {
  parser.add_argument("--reports", {
    metavar: "DIRECTORY",
    default: "guestscope-reports",
    help: "directory of results, one file an input (default guestscope-reports)",
  });
}

/** @throws UsageError when a number is none that can be meant */
export function checkRunArguments(args: RunArguments): void {
  for (const [name, value, least] of [
    ["--concurrency", args.concurrency, 1],
    ["--memory", args.memory, 64],
    ["--time", args.time, 1],
  ] as const) {
    if (!Number.isSafeInteger(value) || value < least)
      throw new UsageError(`${name} ${value}: a whole number from ${least} on is expected`);
  }
}
