import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands.js";
import { hasProgram, projectRoot, runCli, scratch, skipUnless } from "../shared.js";

const script = (shell: string): string => {
  const { status, stdout, stderr } = runCli(["completion", shell]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
};

const { folder, cleanup } = scratch();
afterAll(cleanup);
fs.writeFileSync(path.join(folder, "web01.save"), "");

function scriptFile(shell: string): string {
  const file = path.join(folder, `completion.${shell}`);
  if (!fs.existsSync(file)) fs.writeFileSync(file, script(shell));
  return file;
}

describe("completion", () => {
  /** What bash offers for the last of these words. */
  const offered = (...words: readonly string[]): string[] =>
    execFileSync(
      "bash",
      [
        "-c",
        'eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _guestscope; printf "%s\\n" "${COMPREPLY[@]}"',
        "bash",
        script("bash"),
        ...words,
      ],
      { encoding: "utf8" },
    )
      .split("\n")
      .filter((line) => line !== "");

  it("of bash knows commands, options and choices, all as declared", () => {
    expect(offered("guestscope", "ver")).toEqual(["verify"]);
    expect(offered("guestscope", "").sort()).toEqual(["help", ...Object.keys(COMMANDS)].sort());
    expect(offered("guestscope", "extract", "--par")).toEqual(["--partial"]);
    expect(offered("guestscope", "extract", "--to", "kd")).toEqual(["kdump"]);
    expect(offered("guestscope", "completion", "z")).toEqual(["zsh"]);
    expect(offered("guestscope", "help", "ver")).toEqual(["verify"]);
  });

  /** What fish offers for a line, without its descriptions. */
  const fishOffers = (line: string): string[] =>
    execFileSync(
      "fish",
      ["--no-config", "-c", "source $argv[1]; complete -C $argv[2]", scriptFile("fish"), line],
      {
        encoding: "utf8",
        cwd: folder,
      },
    )
      .split("\n")
      .flatMap((offer) => (offer === "" ? [] : [offer.split("\t")[0] ?? ""]));

  it.skipIf(skipUnless(hasProgram("fish"), "fish"))(
    "of fish completes commands, options, choices, files",
    () => {
      expect(fishOffers("guestscope ver")).toEqual(["verify"]);
      expect(fishOffers("guestscope hel")).toEqual(["help"]);
      expect(fishOffers("guestscope help ver")).toEqual(["verify"]);
      expect(fishOffers("guestscope extract --par")).toEqual(["--partial"]);
      expect(fishOffers("guestscope extract --to k")).toEqual(["kdump"]);
      expect(fishOffers("guestscope inspect we")).toEqual(["web01.save"]);
      expect(fishOffers("guestscope inspect --debug-file we")).toEqual(["web01.save"]);
    },
  );

  /** The line of an interactive zsh once Tab was pressed. */
  const zshLine = (line: string): string => {
    const start = ["PS1='READY '", "autoload -Uz compinit", "compinit -u -D", `source ${scriptFile("zsh")}`];
    fs.writeFileSync(path.join(folder, ".zshrc"), start.join("\n"));
    const session = [
      "zmodload zsh/zpty",
      "zpty -b z zsh -i",
      'zpty -r -m z out "*READY*"',
      `zpty -n -w z "$1"$'\\t'`,
      // to the line's start and to its end
      `zpty -n -w z $'\\x01print -r -- "line:\\x05 end"\\n'`,
      "zpty -r -m z out $'*\\nline:* end*'; print -r -- \"$out\"",
      "zpty -d z",
    ].join("\n");
    const { stdout } = spawnSync("zsh", ["-f", "-c", session, "zsh", line], {
      encoding: "utf8",
      cwd: folder,
      env: { PATH: process.env.PATH ?? "", TERM: "xterm", ZDOTDIR: folder },
      timeout: 60_000,
    });
    return /^line:(.*) end\r?$/m.exec(stdout)?.[1]?.trim() ?? stdout;
  };

  it.skipIf(skipUnless(hasProgram("zsh"), "zsh"))(
    "of zsh completes commands, options, choices, files",
    () => {
      expect(zshLine("guestscope veri")).toBe("guestscope verify");
      expect(zshLine("guestscope help veri")).toBe("guestscope help verify");
      expect(zshLine("guestscope extract --parti")).toBe("guestscope extract --partial");
      expect(zshLine("guestscope extract --to kd")).toBe("guestscope extract --to kdump");
      expect(zshLine("guestscope inspect we")).toBe("guestscope inspect web01.save");
    },
  );

  it.each(["zsh", "fish"])("of %s names every command and parses", (shell) => {
    const text = script(shell);
    for (const name of Object.keys(COMMANDS)) expect(text).toContain(name);
    if (skipUnless(hasProgram(shell), shell)) return;
    const run = spawnSync(shell, ["-n", scriptFile(shell)], { encoding: "utf8" });
    expect({ status: run.status, stderr: run.stderr }).toEqual({ status: 0, stderr: "" });
  });
});

describe("the manual page", () => {
  it.skipIf(skipUnless(hasProgram("man"), "man (man-db)"))(
    "is formatted without a complaint, and names every command",
    () => {
      const page = path.join(projectRoot, "man/guestscope.1");
      const run = spawnSync("man", ["--warnings", "-l", page], {
        encoding: "utf8",
        env: { ...process.env, MANWIDTH: "80" },
      });
      expect({ status: run.status, stderr: run.stderr }).toEqual({ status: 0, stderr: "" });
      for (const name of Object.keys(COMMANDS)) expect(run.stdout).toContain(`guestscope ${name}`);
      expect(fs.readFileSync(page, "utf8")).toContain("\\-\\-partial");
    },
  );
});
