import { listMappings, type UserMapping } from "../linux/user-mappings.js";
import { type Command, EXIT } from "./command.js";
import { printable } from "./kernel-input.js";
import { addProcessOptions, printKernelJson, withProcess } from "./kernel-table.js";
import { print } from "./terminal.js";

function line({ start, end, permissions, offset, file }: UserMapping): string {
  const range = `${start.toString(16)}-${end.toString(16)}`;
  return `${range.padEnd(26)} ${permissions} ${offset.toString(16).padStart(8, "0")} ${printable(file ?? "")}`.trimEnd();
}

/** `guestscope maps`. */
export const command: Command = {
  name: "maps",
  summary: "list the virtual memory of a process of a Linux guest",
  examples: ["guestscope maps web01.save 4711"],
  configure: addProcessOptions,
  run(args) {
    return withProcess(args, async (kernel, task, options) => {
      const mappings: UserMapping[] = [];
      if (task.mm !== 0n) for await (const mapping of listMappings(kernel, task.mm)) mappings.push(mapping);
      if (options.json)
        printKernelJson(kernel, options, "linux-mappings", { pid: task.pid, comm: task.comm, mappings });
      else if (!options.quiet) {
        if (task.mm === 0n) print(`${printable(task.comm)} (${task.pid}) has no memory of its own`);
        for (const mapping of mappings) print(line(mapping));
      }
      return EXIT.good;
    });
  },
};
