import { listModules } from "../linux/modules.js";
import { type Command, EXIT } from "./command.js";
import { addKernelOptions, type KernelArguments, printable, withKernel } from "./kernel-input.js";
import { printKernelJson } from "./kernel-table.js";
import { hex, print, tableLines } from "./terminal.js";

/** `guestscope mod`. */
export const command: Command = {
  name: "mod",
  summary: "list the loaded modules of a Linux guest",
  examples: ["guestscope mod web01.save", "guestscope mod --json web01.save | jq '.modules[].name'"],
  configure: addKernelOptions,
  async run(args) {
    const options = args as KernelArguments;
    return withKernel(args, async (kernel) => {
      const modules = await listModules(kernel);
      if (options.json)
        printKernelJson(kernel, options, "linux-modules", {
          modules: modules.map(({ name, address, size, taint, ranges, object }) => ({
            name,
            address,
            size,
            taint,
            ranges,
            module: object.address,
          })),
        });
      else if (!options.quiet)
        for (const line of tableLines(
          [{ title: "ADDRESS" }, { title: "SIZE", align: "right" }, { title: "TAINT" }, { title: "NAME" }],
          modules.map(({ name, address, size, taint }) => [
            hex(address),
            String(size),
            taint === "" ? "-" : taint,
            printable(name),
          ]),
        ))
          print(line);
      return EXIT.good;
    });
  },
};
