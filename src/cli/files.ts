import type { ArgumentParser } from "argparse";
import { type OpenFile, openFiles } from "../linux/open-files.js";
import { type Command, EXIT } from "./command.js";
import { addKernelOptions, type KernelArguments, printable, withKernel } from "./kernel-input.js";
import { printKernelJson, givenTask } from "./kernel-table.js";
import { print, tableLines } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly pid: string;
}

/** `guestscope files`. */
export const command: Command = {
  name: "files",
  summary: "list the open files of a process of a Linux guest",
  examples: ["guestscope files web01.save 4711"],
  configure(parser: ArgumentParser): void {
    addKernelOptions(parser);
    parser.add_argument("pid", { metavar: "PID", help: "the process" });
  },
  async run(args) {
    const options = args as Arguments;
    return withKernel(args, async (kernel) => {
      const task = await givenTask(kernel, options.pid);
      const files: OpenFile[] = [];
      for await (const file of openFiles(kernel, task)) files.push(file);
      if (options.json)
        printKernelJson(kernel, options, "linux-files", { pid: task.pid, comm: task.comm, files });
      else if (!options.quiet)
        for (const line of tableLines(
          [
            { title: "FD", align: "right" },
            { title: "KIND" },
            { title: "INODE", align: "right" },
            { title: "POSITION", align: "right" },
            { title: "PATH" },
          ],
          files.map(({ fd, kind, inode, position, path }) => [
            String(fd),
            kind ?? "-",
            String(inode ?? "-"),
            String(position ?? "-"),
            printable(path ?? "-"),
          ]),
        ))
          print(line);
      return EXIT.good;
    });
  },
};
