import { afterAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands.js";
import { runCli, scratch } from "../shared.js";
import { hostileCalls, RAW, writeHostileInputs } from "./hostile-inputs.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

describe("an input full of control characters", () => {
  const name = writeHostileInputs(folder);
  // a server doesn't end
  const names = Object.keys(COMMANDS).filter((command) => command !== "view");

  it.each(names)("is in no output of %s raw", (command) => {
    for (const args of hostileCalls(command, name, folder)) {
      const { stdout, stderr } = runCli(args);
      expect(`${stdout}${stderr}`).not.toMatch(RAW);
    }
  });
});
