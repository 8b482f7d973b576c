import type { Inspection } from "../guest/input-format.js";
import { openFile, openInput } from "../io/node/files.js";
import { inspect } from "../open/open.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import type { Presenter } from "./present/presenter.js";
import { Progress } from "./progress.js";
import { print, printJson } from "./terminal.js";

/** How each kind of inspection becomes text: `kind` → module that exports `present`. */
const PRESENTERS: Readonly<Record<string, () => Promise<{ readonly present: Presenter }>>> = {
  "xen-stream": () => import("./present/xen-stream.js"),
  kdump: () => import("./present/vmcore.js"),
  "elf-vmcore": () => import("./present/vmcore.js"),
  "xen-core": () => import("./present/vmcore.js"),
};

interface Arguments extends CommonArguments {
  readonly input: string;
}

/** Problems that an inspection lists as `damage` make its input bad. */
function isDamaged(inspection: Inspection): boolean {
  const { damage } = inspection as { damage?: unknown };
  return Array.isArray(damage) && damage.length > 0;
}

export const command: Command = {
  name: "inspect",
  summary: "show what an input is and holds: layers, domain, memory, processors",
  examples: [
    "guestscope inspect web01.save",
    "ssh host 'xl save web01 /dev/stdout' | guestscope inspect -",
    "guestscope inspect --json web01.save | jq .memory",
  ],
  configure(parser) {
    parser.add_argument("input", { metavar: "INPUT", help: "a file, or - for standard input" });
  },
  async run(args) {
    const { input: name, json, quiet, verbose } = args as Arguments;
    const progress = new Progress(!quiet);
    const input = openInput(name);
    const inspection = await inspect(input, {
      progress: progress.update,
      openFile: async (path) => openFile(path),
    }).finally(() => progress.done());
    const status = isDamaged(inspection) ? EXIT.badInput : EXIT.good;
    if (json) {
      printJson(inspection);
    } else if (!quiet) {
      const load = PRESENTERS[inspection.kind];
      if (load === undefined) printJson(inspection);
      else for (const line of (await load()).present(inspection, { verbose })) print(line);
    }
    return status;
  },
};
