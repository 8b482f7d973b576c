import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands.js";
import { hasProgram, projectRoot, runCli, skipUnless } from "../shared.js";

const script = (shell: string): string => {
  const { status, stdout, stderr } = runCli(["completion", shell]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
};

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
  });

  it.each(["zsh", "fish"])("of %s names every command and parses", (shell) => {
    const text = script(shell);
    for (const name of Object.keys(COMMANDS)) expect(text).toContain(name);
    if (skipUnless(hasProgram(shell), shell)) return;
    expect(spawnSync(shell, ["-n"], { input: text, encoding: "utf8" })).toMatchObject({
      status: 0,
      stderr: "",
    });
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
