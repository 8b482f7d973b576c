import { spawnSync } from "node:child_process";
import * as path from "node:path";
import { hasProgram, projectRoot } from "../shared.js";

export const main = path.join(projectRoot, "dist/cli/main.js");
export const hasTerminal = hasProgram("script");

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** The shell's words for `guestscope ARGS...`. */
export const shellCommand = (...args: readonly string[]): string =>
  [process.execPath, main, ...args].map(quoted).join(" ");

/** What a command prints on a terminal of that many columns (standard output and error together), and its status. */
export function onTerminal(
  command: string,
  options: { columns?: number; rows?: number; env?: Readonly<Record<string, string>> } = {},
): { status: number; output: string } {
  const { columns = 80, rows = 500 } = options;
  const result = spawnSync("script", ["-qec", `stty cols ${columns} rows ${rows}; ${command}`, "/dev/null"], {
    encoding: "utf8",
    env: { PATH: process.env.PATH ?? "", TERM: "xterm-256color", ...options.env },
    input: "",
    timeout: 60_000,
    maxBuffer: 1 << 28,
  });
  return { status: result.status ?? -1, output: result.stdout.replaceAll("\r\n", "\n") };
}
