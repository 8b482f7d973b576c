import type { ArgumentParser } from "argparse";
import { type Mount, mountsOf } from "../linux/mounts.js";
import { type Command, EXIT } from "./command.js";
import { addKernelOptions, type KernelArguments, printable, withKernel } from "./kernel-input.js";
import { printKernelJson, givenTask } from "./kernel-table.js";
import { print, tableLines } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly pid: string;
}

/** `guestscope mount`. */
export const command: Command = {
  name: "mount",
  summary: "list what is mounted in a Linux guest, as one of its processes sees it",
  examples: ["guestscope mount web01.save", "guestscope mount --pid 4711 web01.save"],
  configure(parser: ArgumentParser): void {
    addKernelOptions(parser);
    parser.add_argument("--pid", { metavar: "PID", default: "1", help: "whose mount namespace (default 1)" });
  },
  async run(args) {
    const options = args as Arguments;
    return withKernel(args, async (kernel) => {
      const task = await givenTask(kernel, options.pid);
      const mounts: Mount[] = [];
      for await (const mount of mountsOf(kernel, task.object)) mounts.push(mount);
      if (options.json) printKernelJson(kernel, options, "linux-mounts", { pid: task.pid, mounts });
      else if (!options.quiet)
        for (const line of tableLines(
          [
            { title: "ID", align: "right" },
            { title: "TYPE" },
            { title: "" },
            { title: "SOURCE" },
            { title: "TARGET" },
          ],
          mounts.map(({ id, type, readOnly, source, target }) => [
            String(id),
            printable(type),
            readOnly ? "ro" : "rw",
            printable(source),
            printable(target),
          ]),
        ))
          print(line);
      return EXIT.good;
    });
  },
};
