import type { ArgumentParser } from "argparse";
import { offsetOption } from "./quantity.js";

/** Options of every command that may be given a QEMU migration stream; `group` is where help shows them. */
export function addStreamOptions(
  parser: ArgumentParser,
  group: Pick<ArgumentParser, "add_argument"> = parser,
): void {
  group.add_argument("--channel", {
    metavar: "FILE",
    action: "append",
    help: "another captured connection of the migration: a multifd channel, or the cpr channel of cpr-transfer; may be given again",
  });
  group.add_argument("--offset", {
    type: offsetOption("--offset"),
    metavar: "N",
    help: "where the stream begins in INPUT (default: at its start, or after zeros or a header of up to 1 MiB)",
  });
}
