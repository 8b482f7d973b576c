import { UsageError } from "../findings/errors.js";
import { ruleSections } from "../open/catalogue.js";
import { foldLine } from "./fold.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { paint, print, printJson } from "./terminal.js";

/** Explanations are paragraphs: they are folded wherever they are printed. */
const WIDTH = 80;

export const command: Command = {
  name: "explain",
  summary: "say what a finding means, by which clause, and what to do",
  examples: [
    "guestscope explain libxc/page-data/duplicate-pfn",
    "guestscope explain libxc/page-data    # all codes that start so",
    "guestscope explain                    # all codes",
  ],
  paged: true,
  configure(parser) {
    parser.add_argument("code", {
      metavar: "CODE",
      nargs: "?",
      help: "a finding's code, or how codes start",
    });
  },
  async run(args) {
    const { code, json } = args as CommonArguments & { code: string | undefined };
    const sections = await ruleSections();
    const all = sections.flatMap(({ rules }) => Object.values(rules));
    const exact = all.find((rule) => rule.code === code);
    const rules = exact !== undefined ? [exact] : all.filter((rule) => rule.code.startsWith(code ?? ""));
    if (rules.length === 0) {
      const word = code?.split("/").at(-1) ?? "";
      const near = all.filter((rule) => rule.code.includes(word)).slice(0, 5);
      const hint = near.length === 0 ? "" : `; there are ${near.map((rule) => rule.code).join(", ")}`;
      throw new UsageError(`unknown finding code '${code}'${hint}`);
    }
    if (json) {
      printJson({ schemaVersion: 1, kind: "rules", rules });
    } else if (exact !== undefined || code !== undefined) {
      for (const [i, rule] of rules.entries()) {
        if (i > 0) print();
        print(`${paint("bold", rule.code)}  (${rule.severity})`);
        for (const line of foldLine(`  ${rule.explanation}`, WIDTH)) print(line);
        print(paint("dim", `  ${rule.spec}`));
      }
    } else {
      for (const { title, rules: table } of sections) {
        print(paint("bold", title));
        for (const rule of Object.values(table)) print(`  ${rule.severity.padEnd(7)}  ${rule.code}`);
      }
    }
    return EXIT.good;
  },
};
