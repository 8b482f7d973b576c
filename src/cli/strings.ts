import type { ArgumentParser, Namespace } from "argparse";
import { UsageError } from "../findings/errors.js";
import { findStrings, type StringEncoding } from "../guest/strings.js";
import { type Command, EXIT } from "./command.js";
import { addKernelOptions, type KernelArguments, openKernelOf, withGuestMemory } from "./kernel-input.js";
import { searchedMemory } from "./memory-input.js";
import { printLines } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly bytes: number;
  readonly encoding: StringEncoding;
  readonly pid?: number;
}

/** Lines, and characters, that are printed at once. */
const MOST_LINES = 4096;
const MOST_CHARACTERS = 1 << 20;

/** `guestscope strings`. */
export const command: Command = {
  name: "strings",
  summary: "print the printable text in a guest's memory, with addresses",
  examples: [
    "guestscope strings web01.save",
    "guestscope strings web01.save --bytes 12 --encoding utf-16le",
    "guestscope strings web01.save --pid 412",
    "guestscope strings --json web01.save | head          one JSON document a line",
  ],
  configure(parser: ArgumentParser): void {
    addKernelOptions(parser);
    parser.add_argument("-n", "--bytes", {
      type: "int",
      metavar: "N",
      default: 4,
      help: "characters of the shortest string (default 4)",
    });
    parser.add_argument("--encoding", {
      choices: ["ascii", "utf-16le"],
      default: "ascii",
      help: "one byte a character, or two",
    });
    parser.add_argument("--pid", {
      type: "int",
      metavar: "N",
      help: "what this process has mapped, by virtual address (default: all physical memory)",
    });
  },
  async run(args: Namespace): Promise<number> {
    const { bytes, encoding, pid, json } = args as Arguments;
    if (bytes < 1) throw new UsageError("--bytes: at least one");
    return withGuestMemory(args, async (guest) => {
      const { pieces } = await searchedMemory(guest, pid, async () => openKernelOf(guest, args));
      let lines: string[] = [];
      let characters = 0;
      for await (const { address, text } of findStrings(pieces, bytes, encoding)) {
        const at = address.toString(16);
        lines.push(json ? JSON.stringify({ address: `0x${at}`, text }) : `${at.padStart(9)} ${text}`);
        characters += text.length;
        if (lines.length < MOST_LINES && characters < MOST_CHARACTERS) continue;
        await printLines(lines);
        lines = [];
        characters = 0;
      }
      await printLines(lines);
      return EXIT.good;
    });
  },
};
