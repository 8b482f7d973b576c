import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import { createParser, declaredOptions } from "../src/cli/command.js";
import { COMMANDS } from "../src/cli/commands.js";
import { pagesWithOutput, prepareSamples, withOutputs } from "./console-blocks.js";
import { layoutSections, ruleSections } from "../src/open/catalogue.js";

/** Pages of docs/ that are made from the code; a test holds them up to date. `npm run docs` writes them. */
export const GENERATED: Readonly<Record<string, () => Promise<string>>> = {
  "../man/guestscope.1": manualPage,
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
schema, which it names in \`$schema\`, is in schema/. Colours and progress appear only on terminals; NO_COLOR is honoured.

The drop-in programs are described with their formats: \`verify-stream-v2\` in [xen-streams.md](xen-streams.md),
\`convert-legacy-stream\` in [xen-legacy.md](xen-legacy.md), \`dump-guest-memory\` in [qemu-cores.md](qemu-cores.md).

${sections.join("\n\n")}\n`;
}

/** Text as roff takes it: no line begins a request, no character is lost. */
function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^([.'])/gm, "\\&$1");
}

async function manualPage(): Promise<string> {
  const sections: string[] = [];
  for (const load of Object.values(COMMANDS)) {
    const command = await load();
    const options = declaredOptions(createParser(command, "")).map(({ names, help, metavar }) => {
      const forms = names.length === 0 ? [metavar ?? ""] : names;
      const value = names.length === 0 || metavar === undefined ? "" : ` ${metavar}`;
      return `.TP\n.B ${roff(forms.join(", ") + value)}\n${roff(help)}`;
    });
    const examples = command.examples.map(roff).join("\n");
    sections.push(
      `.SS guestscope ${command.name}\n${roff(command.summary)}\n${options.join("\n")}\n.PP\nExamples:\n.PP\n.nf\n.RS\n${examples}\n.RE\n.fi`,
    );
  }
  return `.\\" Made by 'npm run docs' from the code: change it there.
.TH GUESTSCOPE 1 "" "guestscope" "User Commands"
.SH NAME
guestscope \\- read, verify, convert and open the saved state of virtual machines
.SH SYNOPSIS
.B guestscope
.I COMMAND
[\\fIOPTION\\fR...] \\fIINPUT\\fR...
.SH COMMANDS
${sections.join("\n")}
.SH EXIT STATUS
0 good; 1 the input is bad or the answer incomplete; 2 usage or internal error, or the system refused; 128 + n ended by
signal n (141: the reader of the output went away).
.SH ENVIRONMENT
NO_COLOR, TERM=dumb: no colours. PAGER: shows long text on a terminal. DEBUGINFOD_URLS: servers of debug files.
`;
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
  for (const page of pagesWithOutput()) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "guestscope-docs-"));
    prepareSamples(folder);
    const file = path.join(import.meta.dirname, "..", page);
    fs.writeFileSync(file, withOutputs(fs.readFileSync(file, "utf8"), folder));
    fs.rmSync(folder, { recursive: true });
  }
}
