import { VERSION } from "../version.js";
import { type Command, createParser, type DeclaredOption, declaredOptions, EXIT } from "./command.js";
import { LISTED } from "./command-list.js";
import { print, printJson } from "./terminal.js";

interface Completion {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly DeclaredOption[];
  /** What its arguments can be, where that is a list. */
  readonly choices: readonly string[];
}

async function completions(): Promise<readonly Completion[]> {
  const commands = [...(await Promise.all(Object.values(LISTED).map((load) => load()))), command];
  const described = commands.map((command) => {
    const declared = declaredOptions(createParser(command, VERSION));
    return {
      name: command.name,
      summary: command.summary,
      options: declared.filter(({ names }) => names.length > 0),
      choices: declared.flatMap(({ names, choices = [] }) => (names.length > 0 ? [] : choices)),
    };
  });
  const help = { name: "help", summary: "show the help of a command", options: [] };
  return [...described, { ...help, choices: commands.map(({ name }) => name) }];
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function bash(commands: readonly Completion[]): string {
  const cases = commands.flatMap(({ name, options }) => {
    const choices = options.flatMap(({ names, choices: values }) =>
      values === undefined
        ? []
        : [
            `    ${name},${names.at(-1) ?? ""}) COMPREPLY=($(compgen -W ${quoted(values.join(" "))} -- "$word")); return ;;`,
          ],
    );
    return choices;
  });
  const positional = commands.flatMap(({ name, choices }) =>
    choices.length === 0
      ? []
      : [`    ${name},*) COMPREPLY=($(compgen -W ${quoted(choices.join(" "))} -- "$word")) ;;`],
  );
  const words = commands.map(
    ({ name, options }) =>
      `    ${name}) options=${quoted(options.flatMap(({ names }) => names).join(" "))} ;;`,
  );
  return `# bash completion of guestscope: source <(guestscope completion bash)
_guestscope() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]} options=
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W ${quoted(commands.map(({ name }) => name).join(" "))} -- "$word"))
    return
  fi
  case $command,$before in
${cases.join("\n")}
  esac
  case $command in
${words.join("\n")}
  esac
  case $command,$word in
    *,-*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
${positional.join("\n")}
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _guestscope guestscope`;
}

function zsh(commands: readonly Completion[]): string {
  const escaped = (text: string): string => text.replace(/[[\]:\\]/g, "\\$&");
  const cases = commands.map(({ name, options, choices: values }) => {
    const specs = options.flatMap(({ names, help, metavar, choices }) =>
      names.map((option) => {
        const values = choices === undefined ? "_files" : `(${choices.join(" ")})`;
        return quoted(
          `*${option}[${escaped(help)}]${metavar === undefined ? "" : `:${escaped(metavar)}:${values}`}`,
        );
      }),
    );
    const others = values.length === 0 ? "'*:file:_files'" : quoted(`:argument:(${values.join(" ")})`);
    return `    ${name}) _arguments ${[...specs, others].join(" ")} ;;`;
  });
  const names = commands.map(({ name, summary }) => quoted(`${name}:${escaped(summary)}`));
  return `#compdef guestscope
# zsh completion of guestscope: guestscope completion zsh > "\${fpath[1]}/_guestscope"
_guestscope() {
  local -a commands=(${names.join(" ")})
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words; (( CURRENT-- ))
  case $command in
${cases.join("\n")}
  esac
}
if [[ "\${funcstack[1]}" == _guestscope ]]; then _guestscope "$@"; else compdef _guestscope guestscope; fi`;
}

function fish(commands: readonly Completion[]): string {
  const lines = commands.flatMap(({ name, summary, options, choices: values }) => [
    `complete -c guestscope -f -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
    ...(values.length === 0
      ? []
      : [
          `complete -c guestscope -f -n '__fish_seen_subcommand_from ${name}' -a ${quoted(values.join(" "))}`,
        ]),
    ...options.map(({ names, help, metavar, choices }) => {
      const forms = names.map((option) =>
        option.startsWith("--") ? `-l ${option.slice(2)}` : `-s ${option.slice(1)}`,
      );
      const value =
        choices === undefined
          ? metavar === undefined
            ? ""
            : " -r -F"
          : ` -x -a ${quoted(choices.join(" "))}`;
      return `complete -c guestscope -n '__fish_seen_subcommand_from ${name}' ${forms.join(" ")}${value} -d ${quoted(help)}`;
    }),
  ]);
  return ["# fish completion of guestscope: guestscope completion fish | source", ...lines].join("\n");
}

const SHELLS = { bash, zsh, fish } as const;

/** What `completion --json` prints. */
export interface CompletionDocument {
  readonly schemaVersion: 1;
  readonly kind: "completion";
  readonly commands: readonly Completion[];
}

/** `guestscope completion`. */
export const command: Command = {
  name: "completion",
  summary: "print the completion of commands and options for a shell",
  examples: ["source <(guestscope completion bash)", "guestscope completion fish | source"],
  configure(parser) {
    parser.add_argument("shell", { choices: Object.keys(SHELLS), help: "the shell" });
  },
  async run(args) {
    const { shell, json } = args as { shell: keyof typeof SHELLS; json: boolean };
    const commands = await completions();
    if (json) printJson({ schemaVersion: 1, kind: "completion", commands } satisfies CompletionDocument);
    else print(SHELLS[shell](commands));
    return EXIT.good;
  },
};
