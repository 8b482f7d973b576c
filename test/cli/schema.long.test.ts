import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { validDocument } from "../document-schema.js";
import { fixtures, hasShared, runCli, scratch, sharedData, skipUnless } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** The kind of the document that a command prints, which fits the schema that it names. */
function kindOf(...args: readonly string[]): string {
  const { stdout } = runCli([...args, "--json"]);
  return validDocument(stdout, args.join(" ")).kind;
}

describe("a document", () => {
  it("of each command on a Linux guest fits", () => {
    const guest = path.join(fixtures, "linux/panic-6.1.elf.xz");
    for (const command of [
      ...["log", "ps", "bt", "sys", "mod", "mount", "net"].map((one) => [one, guest]),
      ["bt", "--cpus", guest],
      ...["files", "maps"].map((one) => [one, guest, "1"]),
      ["sym", guest, "init_task"],
      ["struct", guest, "task_struct"],
      ["struct", guest, "list_head", "init_task"],
      ["symbols", guest, path.join(folder, "guest.btf")],
      ["symbols", guest, path.join(folder, "vmlinux"), "--to", "vmlinux"],
      ["read", guest, "linux_banner"],
      ["search", guest, "Linux version"],
      ["search", "--count", guest, "Linux version"],
      ["diff", guest, guest],
    ])
      expect(kindOf(...command), command.join(" ")).not.toBe("error");
  });

  it("of every machine's dump and every legacy stream fits", () => {
    for (const [set, ending] of [
      ["xen-legacy", ".legacy.gz"],
      ["vmcore/machines", ".elf.gz"],
      ["vmcore/machines", ".flat.gz"],
    ] as const)
      for (const name of fs.readdirSync(path.join(fixtures, set)).filter((one) => one.endsWith(ending)))
        expect(kindOf("inspect", path.join(fixtures, set, name)), name).not.toBe("error");
  });

  it.skipIf(skipUnless(hasShared, "shared/data"))("of any small shared input fits", () => {
    const samples = fs
      .readdirSync(sharedData, { recursive: true, encoding: "utf8", withFileTypes: true })
      .filter((entry) => entry.isFile() && !/\.(md|json|txt|py|sh|tsv)$/.test(entry.name))
      .map((entry) => path.join(entry.parentPath, entry.name))
      .filter((file) => fs.statSync(file).size < 1 << 20)
      .filter((_, i) => i % 40 === 0)
      .slice(0, 40);
    for (const file of samples) expect(kindOf("inspect", file), file).toBeTypeOf("string");
  });
});
