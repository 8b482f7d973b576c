import * as zlib from "node:zlib";
import type { ArgumentParser } from "argparse";
import { UsageError } from "../findings/errors.js";
import { MemorySink } from "../io/byte-sink.js";
import { openOutput } from "../io/node/output.js";
import type { Kernel } from "../linux/kernel.js";
import { SYMBOL_FILES, type SymbolFileKind, type SymbolFileSummary } from "../linux/symbols/files.js";
import { type Command, EXIT } from "./command.js";
import type { LinuxSymbolFileDocument } from "./guest-documents.js";
import { addKernelOptions, type KernelArguments, withKernel } from "./kernel-input.js";
import { print, printError, printJson } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly output: string;
  readonly to?: SymbolFileKind;
  readonly force: boolean;
}

/** Kinds by how a file's name ends. */
const BY_NAME: readonly (readonly [RegExp, SymbolFileKind])[] = [
  [/\.json(\.gz)?$/i, "isf"],
  [/kallsyms[^/]*$|\.(txt|map)$/i, "kallsyms"],
  [/\.btf$/i, "btf"],
  [/vmlinux[^/]*$|\.(elf|debug)$/i, "vmlinux"],
];

/** Compressions that other programs read and nothing here writes. */
const UNWRITTEN = /\.(xz|lzma|zst|bz2|lz4)$/i;

/** The kind that an output's name stands for. @throws UsageError */
export function kindOf(output: string): SymbolFileKind {
  const kind = BY_NAME.find(([pattern]) => pattern.test(output))?.[1];
  if (kind !== undefined) return kind;
  throw new UsageError(
    `the name ${output} does not say what kind of symbol file is wanted`,
    {},
    {
      option: "to",
      value: "isf",
      effect: "or vmlinux, kallsyms, btf names it",
    },
  );
}

async function write(kernel: Kernel, kind: SymbolFileKind, args: Arguments): Promise<SymbolFileSummary> {
  const output = openOutput(args.output, { force: args.force });
  try {
    if (/\.gz$/i.test(args.output)) {
      // a symbol file is some megabytes: it is compressed at once
      const plain = new MemorySink(output.name);
      const summary = await SYMBOL_FILES[kind](kernel, plain);
      await output.write(zlib.gzipSync(plain.bytes()));
      output.commit();
      return summary;
    }
    const summary = await SYMBOL_FILES[kind](kernel, output);
    output.commit();
    return summary;
  } catch (error) {
    output.abandon();
    throw error;
  }
}

/** `guestscope symbols`. */
export const command: Command = {
  name: "symbols",
  summary:
    "write a symbol file of a Linux guest's kernel, from its own memory: for volatility3, crash, drgn, gdb",
  examples: [
    "guestscope symbols web01.save symbols/linux/web01.json.gz",
    "guestscope symbols web01.save vmlinux && crash vmlinux web01.vmcore",
    "guestscope symbols --to kallsyms core.4711 -",
  ],
  configure(parser: ArgumentParser): void {
    addKernelOptions(parser);
    parser.add_argument("output", { metavar: "OUTPUT", help: "where it goes; - is standard output" });
    parser.add_argument("--to", {
      choices: Object.keys(SYMBOL_FILES),
      help: "kind of file (default: by OUTPUT's name): isf for volatility3 (*.json, *.json.gz), vmlinux for crash, drgn and gdb (vmlinux*, *.elf, *.debug), kallsyms as text (*kallsyms*, *.txt, *.map), btf as it is (*.btf)",
    });
    parser.add_argument("--force", { action: "store_true", help: "replace an existing output" });
  },
  async run(args) {
    const options = args as Arguments;
    const { output, json, quiet, input } = options;
    const packed = UNWRITTEN.exec(output)?.[1];
    if (packed !== undefined)
      throw new UsageError(
        `symbol files are not written as ${packed}: a name that ends in .gz compresses them, or the output - goes to ${packed} by a pipe`,
      );
    const kind = options.to ?? kindOf(output);
    if (output === "-" && json)
      throw new UsageError("--json and the output can't both go to standard output");
    return withKernel(args, async (kernel) => {
      const summary = await write(kernel, kind, options);
      if (json)
        printJson({
          schemaVersion: 1,
          kind: "linux-symbol-file",
          source: input,
          ...(kernel.release === undefined ? {} : { release: kernel.release }),
          output,
          to: kind,
          ...summary,
          troubles: kernel.troubles,
        } satisfies LinuxSymbolFileDocument);
      else if (!quiet) {
        const parts = Object.entries(summary).map(([name, value]) => `${name} ${String(value)}`);
        (output === "-" ? printError : print)(
          `${output}: ${kind} of ${kernel.release ?? "a kernel"}, ${parts.join(", ")}`,
        );
      }
      return EXIT.good;
    });
  },
};
