import * as fs from "node:fs";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import { createParser } from "../src/cli/command.js";
import { COMMANDS } from "../src/cli/commands.js";
import { layoutSections, ruleSections } from "../src/open/catalogue.js";

/** Pages of docs/ that are made from the code; a test holds them up to date. `npm run docs` writes them. */
export const GENERATED: Readonly<Record<string, () => Promise<string>>> = {
  "cli.md": cliPage,
  "findings.md": findingsPage,
  "formats.md": formatsPage,
};

const HELP_WIDTH = "100";
const note = "<!-- Made by `npm run docs` from the code: change it there. -->";

async function cliPage(): Promise<string> {
  process.env.COLUMNS = HELP_WIDTH;
  const sections: string[] = [];
  for (const [name, load] of Object.entries(COMMANDS)) {
    const command = await load();
    const help = createParser(command, "").format_help().trimEnd();
    sections.push(`## guestscope ${name}\n\n\`\`\`\n${help}\n\`\`\``);
  }
  return `${note}\n# The command line\n
\`-\` is standard input or output. Exit status: 0 good, 1 the input is bad or incomplete, 2 usage or internal error or a
refusal of the system, 128 + n ended by signal n. \`--json\` prints one document with \`schemaVersion\` and \`kind\`; its
types are exported by the library. Colours and progress appear only on terminals; NO_COLOR is honoured.

The drop-in programs are described with their formats: \`verify-stream-v2\` in [xen-streams.md](xen-streams.md),
\`convert-legacy-stream\` in [xen-legacy.md](xen-legacy.md), \`dump-guest-memory\` in [qemu-cores.md](qemu-cores.md).

${sections.join("\n\n")}\n`;
}

async function findingsPage(): Promise<string> {
  const sections = (await ruleSections()).map(({ title, rules }) => {
    const entries = Object.values(rules).map(
      ({ code, severity, spec, explanation }) => `### \`${code}\`\n\n${severity} · ${spec}\n\n${explanation}`,
    );
    return `## ${title}\n\n${entries.join("\n\n")}`;
  });
  return `${note}\n# Findings\n
What \`guestscope verify\` reports and readers refuse, by format. \`guestscope explain CODE\` prints the same;
\`--strict\` makes errors of warnings.

${sections.join("\n\n")}\n`;
}

async function formatsPage(): Promise<string> {
  const sections = (await layoutSections()).map(({ name: format, layouts }) => {
    const tables = layouts.map(({ name, size, spec, fields }) => {
      const rows = fields.map(
        (field) => `| ${field.offset} | ${field.type} | ${field.name} | ${cell(field.meaning)} |`,
      );
      return `### ${name}\n\n${size} bytes. ${spec}.\n\n| offset | type | field | meaning |\n|--:|---|---|---|\n${rows.join("\n")}`;
    });
    return `## ${format}\n\n${tables.join("\n\n")}`;
  });
  return `${note}\n# Formats\n
The structures as the code declares them; \`guestscope formats [NAME]\` prints the same and checks the sizes.

${sections.join("\n\n")}\n`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const [name, make] of Object.entries(GENERATED)) {
    fs.writeFileSync(path.join(import.meta.dirname, "../docs", name), await make());
  }
}
