import { afterAll, describe, expect, it } from "vitest";
import { skipUnless } from "../shared.js";
import { cleanup, INPUTS } from "./inputs.js";
import { hasTerminal, onTerminal, shellCommand } from "./terminal-session.js";

afterAll(cleanup);

/** Starts the sequence that clears a line: ESC [ K. */
const CLEAR = "\u001b";

describe("inspect on a terminal", () => {
  it.skipIf(skipUnless(hasTerminal, "script (util-linux)")).each(Object.keys(INPUTS))(
    "of a %s is no wider than a terminal of 80 columns, --verbose or not",
    (kind) => {
      for (const more of [[], ["--verbose"]]) {
        const command = shellCommand("inspect", "--no-pager", ...more, ...(INPUTS[kind]?.() ?? []));
        const { status, output } = onTerminal(command, { env: { NO_COLOR: "1" } });
        expect(status).toBe(0);
        // progress is drawn in one line, over and over
        const shown = output
          .split("\n")
          .map((line) => line.slice(line.lastIndexOf(CLEAR) + 1).replace(/^\[K/, ""));
        expect(shown.filter((line) => Array.from(line).length > 80)).toEqual([]);
      }
    },
  );
});
