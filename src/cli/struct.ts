import type { ArgumentParser } from "argparse";
import { AbsentError } from "../findings/errors.js";
import type { Kernel } from "../linux/kernel.js";
import { structOfModules } from "../linux/module-types.js";
import { layoutLines, nameOf } from "../linux/type-text.js";
import { findMember, type KernelType } from "../linux/types.js";
import { type MemoryValue, valueOf } from "../linux/value-text.js";
import { type Command, EXIT } from "./command.js";
import { addKernelOptions, type KernelArguments, printable, withKernel } from "./kernel-input.js";
import { printKernelJson } from "./kernel-table.js";
import { addressOf } from "./sym.js";
import { hex, print } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly type: string;
  readonly place?: string;
}

/** Type, and path of members in it, out of `task_struct.thread.sp`. */
async function wantedOf(
  kernel: Kernel,
  text: string,
): Promise<{ readonly type: KernelType; readonly path: string; readonly module?: string }> {
  const [name = "", ...rest] = text.replace(/^(struct|union) +/, "").split(".");
  const path = rest.join(".");
  try {
    return { type: kernel.struct(name), path };
  } catch (error) {
    const found = error instanceof AbsentError ? await structOfModules(kernel, name) : undefined;
    if (found === undefined) throw error;
    return { ...found, path };
  }
}

/** Lines of a value, members below each other. */
function valueLines(name: string, value: MemoryValue, indent: string): string[] {
  if (value === null) return [`${indent}${name} = (not in the input)`];
  if (typeof value !== "object") return [`${indent}${name} = ${printable(String(value))}`];
  const inner = Array.isArray(value)
    ? value.flatMap((element: MemoryValue, i) => valueLines(`[${i}]`, element, `${indent}    `))
    : Object.entries(value).flatMap(([member, part]) => valueLines(member, part, `${indent}    `));
  return [`${indent}${name} = {`, ...inner, `${indent}}`];
}

/** `guestscope struct`. */
export const command: Command = {
  name: "struct",
  summary: "show the layout of a structure of a Linux guest's kernel, or its contents at an address",
  examples: [
    "guestscope struct web01.save task_struct",
    "guestscope struct web01.save task_struct.comm init_task",
    "guestscope struct web01.save list_head 0xffffffff82a10940",
  ],
  configure(parser: ArgumentParser): void {
    addKernelOptions(parser);
    parser.add_argument("type", { metavar: "NAME[.MEMBER]", help: "the structure, or a member of it" });
    parser.add_argument("place", {
      metavar: "ADDRESS|SYMBOL",
      nargs: "?",
      help: "where one is, to show what it holds",
    });
  },
  async run(args) {
    const options = args as Arguments;
    return withKernel(args, async (kernel) => {
      const { type, path, module } = await wantedOf(kernel, options.type);
      const member = path === "" ? undefined : findMember(type, path);
      if (path !== "" && member === undefined) throw kernel.noMember(type.name, path);
      const shown = member?.type ?? type;
      const bitOffset = member?.bitOffset ?? 0;
      if (options.place === undefined) {
        const lines =
          shown.members().length > 0 ? layoutLines(shown) : [`${nameOf(shown)} /* ${shown.size} bytes */`];
        if (module !== undefined) lines.push(`/* of module ${printable(module)} */`);
        if (path !== "") lines.push(`/* ${options.type}: offset ${bitOffset >>> 3} */`);
        if (options.json)
          printKernelJson(kernel, options, "linux-type", {
            name: options.type,
            ...(module === undefined ? {} : { module }),
            size: shown.size,
            offset: bitOffset / 8,
            members: shown.members().map((part) => ({
              name: part.name,
              offset: Math.floor(part.bitOffset / 8),
              ...(part.bitSize === undefined ? {} : { bitOffset: part.bitOffset % 8, bits: part.bitSize }),
              type: nameOf(part.type),
              size: part.type.size,
            })),
          });
        else if (!options.quiet) for (const line of lines) print(line);
        return EXIT.good;
      }
      const address = addressOf(options.place) ?? kernel.needSymbol(options.place);
      const object = await kernel.load(type, address);
      const value = valueOf(object, shown, path);
      if (options.json)
        printKernelJson(kernel, options, "linux-value", { name: options.type, address, value });
      else if (!options.quiet)
        for (const line of valueLines(`${options.type} at ${hex(address)}`, value, "")) print(line);
      return EXIT.good;
    });
  },
};
