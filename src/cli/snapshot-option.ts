import type { ArgumentParser } from "argparse";

/** The option of every command that may be given a disk image. */
export function addSnapshotOption(parser: ArgumentParser): void {
  parser.add_argument("--snapshot", {
    metavar: "ID|NAME",
    help: "which snapshot's guest of a qcow2 disk image (default: the only one saved with its guest)",
  });
}
