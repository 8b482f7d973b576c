import { type DescribedLayout, layoutMismatch, LAYOUTS } from "../open/layouts.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { paint, print, printError, printJson, tableLines } from "./terminal.js";

function layoutLines(layout: DescribedLayout): string[] {
  const rows = layout.fields.map(({ name, offset, size, type, meaning }) => [
    String(offset),
    String(size),
    type,
    name,
    meaning,
  ]);
  const [head = "", ...lines] = tableLines(
    [
      { title: "offset", align: "right" },
      { title: "size", align: "right" },
      { title: "type" },
      { title: "field" },
      { title: "meaning" },
    ],
    rows,
  );
  return [
    `${paint("bold", layout.name)}  ${layout.size} bytes  ${paint("dim", layout.spec)}`,
    ...[paint("dim", head), ...lines].map((line) => `  ${line}`),
  ];
}

/** Layouts of formats whose name, or of structures whose name, contains what was asked for. */
function select(asked: string | undefined): [string, readonly DescribedLayout[]][] {
  const wanted = asked?.toLowerCase() ?? "";
  return Object.entries(LAYOUTS).flatMap(([format, layouts]): [string, readonly DescribedLayout[]][] => {
    if (format === wanted) return [[format, layouts]];
    const some = layouts.filter(({ name }) => name.toLowerCase().includes(wanted));
    return some.length === 0 ? [] : [[format, some]];
  });
}

export const command: Command = {
  name: "formats",
  summary: "print the structures as declared: offsets, sizes, meaning",
  examples: ["guestscope formats", "guestscope formats libxc", "guestscope formats 'image header'"],
  configure(parser) {
    parser.add_argument("name", {
      metavar: "NAME",
      nargs: "?",
      help: "a format, or part of a structure's name",
    });
  },
  async run(args) {
    const { name, json, quiet } = args as CommonArguments & { name: string | undefined };
    const exact = Object.entries(LAYOUTS).filter(([format]) => format === name);
    const chosen = exact.length > 0 ? exact : select(name);
    if (chosen.length === 0) {
      printError(`guestscope formats: no '${name}'; there are ${Object.keys(LAYOUTS).join(", ")}`);
      return EXIT.failure;
    }
    if (json) {
      printJson({ schemaVersion: 1, kind: "formats", formats: Object.fromEntries(chosen) });
    } else if (!quiet) {
      for (const line of chosen
        .flatMap(([, layouts]) => layouts)
        .flatMap((each) => [...layoutLines(each), ""])) {
        print(line);
      }
    }
    let wrong = 0;
    for (const layout of chosen.flatMap(([, layouts]) => layouts)) {
      const mismatch = layoutMismatch(layout);
      if (mismatch === undefined) continue;
      wrong += 1;
      printError(`guestscope formats: ${layout.name}: ${mismatch}`);
    }
    return wrong === 0 ? EXIT.good : EXIT.badInput;
  },
};
