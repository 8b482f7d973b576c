import { type Command, type CommonArguments, EXIT } from "./command.js";
import { errorDocument } from "./failure.js";
import { addGuestOptions, inspectInput, type UnreadProcess } from "./guest-input.js";
import { damageSection, headLines, warningSection } from "./present/head.js";
import { processLines } from "./present/process-core.js";
import { type Presenter, sectionLines } from "./present/presenter.js";
import { softwareSection } from "./present/software.js";
import { vcpuSections } from "./present/vcpu.js";
import { Progress } from "./progress.js";
import { print, printJson } from "./terminal.js";

/** How each kind of inspection becomes text: `kind` → module that exports `present`. */
const PRESENTERS: Readonly<Record<string, () => Promise<{ readonly present: Presenter }>>> = {
  "xen-stream": () => import("./present/xen-stream.js"),
  "xen-legacy": () => import("./present/xen-legacy.js"),
  "qemu-core": () => import("./present/qemu-core.js"),
  "qemu-migration": () => import("./present/qemu-migration.js"),
  qcow2: () => import("./present/qcow2.js"),
  kdump: () => import("./present/vmcore.js"),
  lime: () => import("./present/vmcore.js"),
  avml: () => import("./present/vmcore.js"),
  raw: () => import("./present/vmcore.js"),
  "elf-vmcore": () => import("./present/vmcore.js"),
  "xen-core": () => import("./present/vmcore.js"),
};

interface Arguments extends CommonArguments {
  readonly input: string;
  readonly html: string | undefined;
  readonly force: boolean;
}

export const command: Command = {
  name: "inspect",
  summary: "show an input's format and contents: layers, domain, memory, vCPUs",
  examples: [
    "guestscope inspect web01.save",
    "ssh host 'xl save web01 /dev/stdout' | guestscope inspect -",
    "guestscope inspect --json web01.save | jq .memory",
    "guestscope inspect web01.save --html web01.html",
    "guestscope inspect --debug-file qemu-system-x86_64.debug core.4711",
  ],
  paged: true,
  configure(parser) {
    parser.add_argument("input", {
      metavar: "INPUT",
      help: "a file, - for standard input, or pid:N for a running QEMU",
    });
    parser.add_argument("--html", {
      metavar: "OUT",
      help: "write a page of its own with summary, picture of memory, findings and tables",
    });
    parser.add_argument("--force", { action: "store_true", help: "replace an existing OUT" });
    addGuestOptions(parser);
  },
  async run(args) {
    const { input: name, json, quiet, verbose, html } = args as Arguments;
    if (html !== undefined) return (await import("./html-report.js")).writeHtmlReport(html, args);
    const progress = new Progress(!quiet);
    let unread: UnreadProcess | undefined;
    const report = (process: UnreadProcess): void => {
      unread = process;
    };
    const inspection = await inspectInput(name, args, { progress: progress.update }, report)
      .finally(() => progress.done())
      .catch((error: unknown) => {
        if (unread === undefined) throw error;
        if (json) printJson({ ...errorDocument(error), process: unread.facts });
        else for (const line of processLines(name, unread.what, unread.facts)) print(line);
        throw error;
      });
    const status = inspection.damage.length > 0 ? EXIT.badInput : EXIT.good;
    if (json) {
      printJson(inspection);
    } else if (!quiet) {
      const load = PRESENTERS[inspection.kind];
      if (load === undefined) printJson(inspection);
      else {
        const sections = [
          ...(await load()).present(inspection, { verbose }),
          ...vcpuSections(inspection.vcpus ?? [], { verbose }),
          softwareSection(inspection),
          damageSection(inspection),
          warningSection(inspection),
        ];
        for (const line of [...headLines(inspection), ...sectionLines(sections)]) print(line);
      }
    }
    return status;
  },
};
