import type { ArgumentParser } from "argparse";
import type { Kernel } from "../linux/kernel.js";
import { useModuleSymbols } from "../linux/modules.js";
import { absent, LINUX_RULES } from "../linux/rules.js";
import { printPlace, type SymbolPlace } from "../linux/symbols.js";
import { type Command, EXIT } from "./command.js";
import { addKernelOptions, type KernelArguments, withKernel } from "./kernel-input.js";
import { printKernelJson } from "./kernel-table.js";
import { hex, print } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly wanted: string;
}

/** An address as users write it, with or without 0x; undefined for a name. */
export function addressOf(text: string): bigint | undefined {
  return /^(0x[0-9a-f]{1,16}|[0-9a-f]{8,16})$/i.test(text)
    ? BigInt(text.toLowerCase().startsWith("0x") ? text : `0x${text}`)
    : undefined;
}

interface Found {
  readonly address: bigint;
  readonly place: SymbolPlace | undefined;
}

async function find(kernel: Kernel, wanted: string): Promise<readonly Found[]> {
  const address = addressOf(wanted);
  if (address !== undefined) {
    await useModuleSymbols(kernel);
    const place = kernel.place(address);
    if (place === undefined)
      throw absent(LINUX_RULES.noSymbol, `no symbol of the kernel or its modules holds ${hex(address)}`);
    return [{ address, place }];
  }
  const known = kernel.symbols?.addresses(wanted) ?? [];
  const addresses = known.length > 0 ? known : [kernel.needSymbol(wanted)];
  return addresses.map((at) => ({ address: at, place: kernel.place(at) }));
}

/** `guestscope sym`. */
export const command: Command = {
  name: "sym",
  summary: "find a symbol of a Linux guest's kernel by its name, or what an address belongs to",
  examples: ["guestscope sym web01.save init_task", "guestscope sym web01.save 0xffffffff81a17040"],
  configure(parser: ArgumentParser): void {
    addKernelOptions(parser);
    parser.add_argument("wanted", { metavar: "NAME|ADDRESS", help: "what is looked for" });
  },
  async run(args) {
    const options = args as Arguments;
    return withKernel(args, async (kernel) => {
      const found = await find(kernel, options.wanted);
      if (options.json)
        printKernelJson(kernel, options, "linux-symbols", {
          symbols: found.map(({ address, place }) => ({ address, ...place })),
        });
      else if (!options.quiet)
        for (const { address, place } of found)
          print(`${hex(address)} ${place === undefined ? options.wanted : printPlace(place)}`);
      return EXIT.good;
    });
  },
};
