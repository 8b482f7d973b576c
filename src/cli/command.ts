import { ArgumentParser, type Namespace, RawDescriptionHelpFormatter } from "argparse";
import { installNodeCodecs } from "../io/node/codecs.js";
import { AbsentError, describeError, FormatError, GuestscopeError } from "../findings/errors.js";

/** Exit statuses that every command keeps to. A signal gives 128 + its number. */
export const EXIT = { good: 0, badInput: 1, failure: 2 } as const;

/** One subcommand of `guestscope`. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Shown below the options by `--help`. */
  readonly examples: readonly string[];
  configure(parser: ArgumentParser): void;
  /** Returns the exit status. Errors of the library may be thrown: they are printed, status 1 or 2. */
  run(args: Namespace): Promise<number>;
}

export interface CommonArguments {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
}

/** A parser with the options that every command has. */
export function createParser(command: Command, version: string): ArgumentParser {
  const parser = new ArgumentParser({
    prog: `guestscope ${command.name}`,
    description: command.summary,
    epilog: `examples:\n${command.examples.map((line) => `  ${line}`).join("\n")}`,
    formatter_class: RawDescriptionHelpFormatter,
  });
  parser.add_argument("--json", { action: "store_true", help: "one JSON document on standard output" });
  parser.add_argument("-q", "--quiet", { action: "store_true", help: "print nothing but errors" });
  parser.add_argument("-v", "--verbose", { action: "store_true", help: "print more" });
  parser.add_argument("--version", { action: "version", version: `guestscope ${version}` });
  command.configure(parser);
  return parser;
}

/** Runs a program's body: prints what it throws in one line and turns it into the documented exit status. */
export async function runProgram(body: () => Promise<number>): Promise<void> {
  installNodeCodecs();
  process.stdout.on("error", onStreamError);
  process.stderr.on("error", onStreamError);
  process.exitCode = await body().catch((error: unknown) => {
    if (error instanceof GuestscopeError) {
      process.stderr.write(`guestscope: ${describeError(error)}${remedyText(error)}\n`);
      return error instanceof FormatError || error instanceof AbsentError ? EXIT.badInput : EXIT.failure;
    }
    // a bug of ours: the trace is what a report needs
    process.stderr.write(
      `guestscope: internal error, please report it\n${(error as Error).stack ?? String(error)}\n`,
    );
    return EXIT.failure;
  });
}

/** `; --partial takes what is intact`: what a user can do about an error, as the flag; nothing when it names none. */
export function remedyText({ remedy }: GuestscopeError): string {
  if (remedy === undefined) return "";
  const flag = remedy.option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const parts = [`--${flag}`, remedy.value, remedy.effect].filter((part) => part !== undefined);
  return `; ${parts.join(" ")}`;
}

/** The reader of our output went away (`| head`): stop quietly. */
function onStreamError(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  process.exit(process.exitCode ?? EXIT.good);
}
