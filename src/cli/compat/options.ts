import { UsageError } from "../../findings/errors.js";

/** One option of a drop-in program, as Python's optparse knows it. */
export interface OptionSpec {
  readonly long: string;
  readonly short?: string;
  /** Placeholder of its argument; without one the option is a switch. */
  readonly metavar?: string;
  readonly choices?: readonly string[];
  readonly help: string;
}

export interface ParsedOptions {
  /** Arguments by the option's long name; of one given again, the last. */
  readonly values: ReadonlyMap<string, string>;
  /** All arguments of an option. */
  readonly lists: ReadonlyMap<string, readonly string[]>;
  readonly switches: ReadonlySet<string>;
  readonly operands: readonly string[];
}

/**
 * Parses a command line as optparse does: long options by any unambiguous prefix, `--in=5` or `--in 5`, short ones
 * joined (`-vx`) or with their argument attached (`-i5`), `--` ends options.
 * @throws UsageError in optparse's words
 */
export function parseOptions(specs: readonly OptionSpec[], argv: readonly string[]): ParsedOptions {
  const values = new Map<string, string>();
  const lists = new Map<string, string[]>();
  const switches = new Set<string>();
  const operands: string[] = [];
  const rest = [...argv];
  const set = (spec: OptionSpec, shown: string, attached: string | undefined): void => {
    if (spec.metavar === undefined) {
      if (attached !== undefined) throw new UsageError(`${shown} option does not take a value`);
      switches.add(spec.long);
      return;
    }
    const value = attached ?? rest.shift();
    if (value === undefined) throw new UsageError(`${shown} option requires 1 argument`);
    if (spec.choices !== undefined && !spec.choices.includes(value)) {
      const known = spec.choices.map((choice) => `'${choice}'`).join(", ");
      throw new UsageError(`option ${shown}: invalid choice: '${value}' (choose from ${known})`);
    }
    values.set(spec.long, value);
    lists.set(spec.long, [...(lists.get(spec.long) ?? []), value]);
  };
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") {
      operands.push(...rest);
      break;
    }
    if (word.startsWith("--")) {
      const [, name = "", value] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
      const spec = findLong(specs, name);
      set(spec, `--${spec.long}`, value);
    } else if (word.startsWith("-") && word.length > 1) {
      for (let at = 1; at < word.length; at += 1) {
        const letter = word[at] ?? "";
        const spec = specs.find(({ short }) => short === letter);
        if (spec === undefined) throw new UsageError(`no such option: -${letter}`);
        const attached = word.slice(at + 1);
        const takesRest = spec.metavar !== undefined && attached !== "";
        set(spec, `-${letter}`, takesRest ? attached : undefined);
        if (spec.metavar !== undefined) break;
      }
    } else {
      operands.push(word);
    }
  }
  return { values, lists, switches, operands };
}

function findLong(specs: readonly OptionSpec[], name: string): OptionSpec {
  const exact = specs.find(({ long }) => long === name);
  if (exact !== undefined) return exact;
  const possible = specs.filter(({ long }) => long.startsWith(name));
  const [only] = possible;
  if (only === undefined) throw new UsageError(`no such option: --${name}`);
  if (possible.length > 1) {
    const names = possible.map(({ long }) => `--${long}`).sort();
    throw new UsageError(`ambiguous option: --${name} (${names.join(", ")}?)`);
  }
  return only;
}

/** Text of `--help`. */
export function helpText(usage: string, description: string, specs: readonly OptionSpec[]): string {
  const rows = specs.map(({ long, short, metavar, help }) => {
    const argument = metavar === undefined ? "" : ` ${metavar}`;
    const shortForm = short === undefined ? "" : `-${short}${argument}, `;
    return [`  ${shortForm}--${long}${metavar === undefined ? "" : `=${metavar}`}`, help] as const;
  });
  const width = 24;
  const lines = rows.map(([left, help]) =>
    left.length < width - 1 ? `${left.padEnd(width)}${help}` : `${left}\n${" ".repeat(width)}${help}`,
  );
  return `Usage: ${usage}\n\n${description}\n\nOptions:\n${lines.join("\n")}`;
}
