import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands.js";
import { escapeControls, escapeJsonControls } from "../../src/cli/escape.js";
import { foldLine } from "../../src/cli/fold.js";
import { fixtures, projectRoot, runCli, scratch, skipUnless } from "../shared.js";
import { hasTerminal, onTerminal, shellCommand } from "./terminal-session.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** What must never reach a terminal from an input. */
const RAW = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
/** Clears the screen, sets the title, is red, in seven bits and eight, turns the direction of text. */
const EVIL = "\u001b[2J\u001b]0;owned\u0007\u001b[31m\u009b31m\u202e\r\u0008\u007f";

describe("control characters", () => {
  it("are written out, whatever the text; tab and newline stay", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(escapeControls(text + EVIL)).not.toMatch(RAW);
        expect(JSON.parse(escapeJsonControls(JSON.stringify(text + EVIL)))).toBe(text + EVIL);
        expect(escapeJsonControls(JSON.stringify(text + EVIL))).not.toMatch(RAW);
      }),
    );
    expect(escapeControls("a\tb\nc\u001b[2J\u202e")).toBe("a\tb\nc\\x1b[2J\\u{202e}");
  });

  it("folded lines lose nothing but spaces, and are no wider than asked", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 400 }), fc.integer({ min: 20, max: 120 }), (text, width) => {
        const lines = foldLine(text, width);
        for (const line of lines) expect(Array.from(line).length).toBeLessThanOrEqual(width);
        expect(lines.join("").replaceAll(" ", "")).toBe(text.replaceAll(" ", ""));
      }),
    );
  });

  it("have one way out: no file of the command line but terminal.ts writes to a stream", () => {
    const root = path.join(projectRoot, "src/cli");
    const strays = fs
      .readdirSync(root, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && name !== "terminal.ts")
      .filter((name) =>
        /\b(stdout|stderr)\.write\(|console\.\w+\(/.test(fs.readFileSync(path.join(root, name), "utf8")),
      );
    expect(strays).toEqual([]);
  });
});

describe("an input full of control characters", () => {
  /** A save whose guest's name is hostile: the configuration of xl in front of a converted stream. */
  const evilName = path.join(folder, `e${EVIL.replaceAll("/", "")}`);
  const legacy = zlib.gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz")));
  const name = Buffer.from(legacy).indexOf("legacy-hvm64");
  const evil = Buffer.from(legacy);
  evil.write("\u001b[2Jx", name, "latin1");
  fs.writeFileSync(evilName, evil);
  fs.writeFileSync(`${evilName}.torn`, evil.subarray(0, evil.length / 2));
  fs.writeFileSync(`${evilName}.text`, `${EVIL}${EVIL}`);

  const names = Object.keys(COMMANDS);
  const calls = names.flatMap((command) => [
    [command, evilName],
    [command, evilName, path.join(folder, `${command}\u001b[2J.out`)],
    [command, `${evilName}.torn`],
    [command, `${evilName}.text`],
    [command, `${evilName}.missing`],
    [command, "--json", evilName],
    [command, `--${EVIL}`],
  ]);

  it("is in no command's output raw", () => {
    for (const args of calls) {
      if (args[0] === "view") continue;
      const { stdout, stderr } = runCli(args);
      expect(`${args[0]}: ${stdout}${stderr}`).not.toMatch(RAW);
    }
    expect(runCli(["inspect", evilName]).stdout).toContain("\\x1b[2J");
  });

  it.skipIf(skipUnless(hasTerminal, "script (util-linux)"))(
    "is on no terminal raw, beside our own colours",
    () => {
      for (const args of [
        ["inspect", evilName],
        ["verify", evilName, `${evilName}.torn`],
        ["inspect", `${evilName}.missing`],
      ]) {
        const { output } = onTerminal(shellCommand(...args));
        // our colours are bold, dim and the like: none of them clears the screen or is plain red
        expect(output).not.toMatch(/\u001b\[2J|\u001b\]|\u009b|\u0007|\u202e/);
      }
    },
  );
});
