import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hasProgram, hasShared, projectRoot, scratch, sharedData, skipUnless, unzstd } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const text = fs.readFileSync(path.join(projectRoot, "docs/elf-dwarf.md"), "utf8");
const examples = Array.from(text.matchAll(/```ts\n([^]*?)```/g), ([, code = ""]) => code);

const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");

/** Runs an example as a program of its own, its imports led to the sources. */
function run(code: string, ...args: readonly string[]): string {
  const rooms = new Map([["node", "io/node"]]);
  const file = path.join(folder, "example.mts");
  const linked = code.replaceAll(/"guestscope\/(\w+)"/g, (_, room: string) =>
    JSON.stringify(path.join(projectRoot, "src", rooms.get(room) ?? room, "index.ts")),
  );
  fs.writeFileSync(file, linked);
  const tsx = path.join(projectRoot, "node_modules/tsx/dist/cli.mjs");
  return execFileSync(process.execPath, [tsx, file, ...args], { encoding: "utf8" });
}

describe.skipIf(skip)("the examples of docs/elf-dwarf.md", () => {
  const data = (name: string, as?: string): string =>
    unzstd(path.join(sharedData, "qemu-core", `${name}.zst`), folder, as === undefined ? {} : { name: as });

  it("print what the data are known to hold", () => {
    const debug = data("debug/qemu-system-x86_64.debug");
    const core = data("tiny-split/core", "tiny-split.core");
    const [variables = "", finding = "", memory = ""] = examples;
    expect(examples).toHaveLength(3);
    expect(run(variables, debug).split("\n")).toEqual([
      expect.stringMatching(/^0x790e60 AddressSpace in .*physmem\.c$/),
      "VMCoreInfoState *",
      "64 16",
      "48",
      "",
    ]);
    expect(run(finding, debug, core)).toBe(
      "/usr/local/bin/qemu-system-x86_64 e493ee9004c46650dace2486e93cc9ecdc12827c 1\n",
    );
    expect(run(memory, debug, core)).toMatch(
      /^0x[0-9a-f]+ by AT_ENTRY, AT_PHDR, NT_FILE\n16 Uint8Array\(16\) \[\s+127,[^]*present/,
    );
  });
});
