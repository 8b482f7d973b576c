import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { escapeControls, escapeJsonControls } from "../../src/cli/escape.js";
import { foldLine } from "../../src/cli/fold.js";
import { projectRoot, runCli, scratch, skipUnless } from "../shared.js";
import { EVIL, hostileCalls, RAW, writeHostileInputs } from "./hostile-inputs.js";
import { hasTerminal, onTerminal, shellCommand } from "./terminal-session.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

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
  const evilName = writeHostileInputs(folder);

  it.each(["inspect", "verify"])("is in no output of %s raw", (command) => {
    for (const args of hostileCalls(command, evilName, folder)) {
      const { stdout, stderr } = runCli(args);
      expect(`${stdout}${stderr}`).not.toMatch(RAW);
    }
  });

  it("is shown with its control characters written out", () => {
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
