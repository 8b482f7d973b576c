import type { DescribedLayout, LayoutSection } from "../binary/layout.js";
import { UsageError } from "../findings/errors.js";
import { layoutSections } from "../open/catalogue.js";
import { layoutMismatch } from "../open/stated-sizes.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { didYouMean } from "./suggest.js";
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

/** The sections of that name, else the structures whose name contains it. */
function select(sections: readonly LayoutSection[], asked: string | undefined): readonly LayoutSection[] {
  const wanted = asked?.toLowerCase() ?? "";
  const exact = sections.filter(({ name }) => name === wanted);
  if (exact.length > 0) return exact;
  return sections
    .map(({ name, layouts }) => ({
      name,
      layouts: layouts.filter((layout) => layout.name.toLowerCase().includes(wanted)),
    }))
    .filter(({ layouts }) => layouts.length > 0);
}

export const command: Command = {
  name: "formats",
  summary: "print the structures as declared: offsets, sizes, meaning",
  examples: ["guestscope formats", "guestscope formats libxc", "guestscope formats 'image header'"],
  paged: true,
  configure(parser) {
    parser.add_argument("name", {
      metavar: "NAME",
      nargs: "?",
      help: "a format, or part of a structure's name",
    });
  },
  async run(args) {
    const { name, json, quiet } = args as CommonArguments & { name: string | undefined };
    const sections = await layoutSections();
    const chosen = select(sections, name);
    if (chosen.length === 0) {
      const names = sections.map((section) => section.name);
      throw new UsageError(
        `no '${name}'${didYouMean(name ?? "", names) || `; there are ${names.join(", ")}`}`,
      );
    }
    if (json) {
      printJson({
        schemaVersion: 1,
        kind: "formats",
        formats: Object.fromEntries(chosen.map((section) => [section.name, section.layouts])),
      });
    } else if (!quiet) {
      for (const line of chosen
        .flatMap(({ layouts }) => layouts)
        .flatMap((each) => [...layoutLines(each), ""])) {
        print(line);
      }
    }
    let wrong = 0;
    for (const layout of chosen.flatMap(({ layouts }) => layouts)) {
      const mismatch = layoutMismatch(layout);
      if (mismatch === undefined) continue;
      wrong += 1;
      printError(`guestscope formats: ${layout.name}: ${mismatch}`);
    }
    return wrong === 0 ? EXIT.good : EXIT.badInput;
  },
};
