import { type OpenFile, openFiles } from "../linux/open-files.js";
import { type Command, EXIT } from "./command.js";
import { printable } from "./kernel-input.js";
import { addProcessOptions, printKernelJson, withProcess } from "./kernel-table.js";
import { print, tableLines } from "./terminal.js";

/** `guestscope files`. */
export const command: Command = {
  name: "files",
  summary: "list the open files of a process of a Linux guest",
  examples: ["guestscope files web01.save 4711"],
  configure: addProcessOptions,
  run(args) {
    return withProcess(args, async (kernel, task, options) => {
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
