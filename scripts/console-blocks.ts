import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";

const root = path.resolve(import.meta.dirname, "..");

/** Puts the files that the pages' examples name into `folder`. */
export function prepareSamples(folder: string): void {
  fs.copyFileSync(
    path.join(root, "test/fixtures/linux/panic-6.1.elf.xz"),
    path.join(folder, "crashed.elf.xz"),
  );
  const legacy = gunzipSync(fs.readFileSync(path.join(root, "test/fixtures/demo/web01.legacy.gz")));
  fs.writeFileSync(path.join(folder, "web01.legacy"), legacy);
  // converted and cut: a save that the disk had no room for
  const whole = path.join(folder, "whole.save");
  spawnSync(process.execPath, [path.join(root, "dist/cli/main.js"), "convert", "-q", "web01.legacy", whole], {
    cwd: folder,
  });
  const bytes = fs.readFileSync(whole);
  fs.writeFileSync(path.join(folder, "torn.save"), bytes.subarray(0, 1_000_000));
  fs.rmSync(whole);
}

/** The output of one line, a user's shell and terminal of 100 columns assumed. */
function outputOf(line: string, folder: string): string {
  const bin = path.join(folder, ".bin");
  fs.mkdirSync(bin, { recursive: true });
  const program = path.join(bin, "guestscope");
  if (!fs.existsSync(program)) fs.symlinkSync(path.join(root, "dist/cli/main.js"), program);
  const { stdout, stderr } = spawnSync("bash", ["-c", `${line} 2>&1`], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, COLUMNS: "80", PATH: `${bin}:${process.env["PATH"] ?? ""}` },
  });
  return `${stdout}${stderr}`.trimEnd();
}

/** A page with what every `$ command` of its `console` blocks prints now in place of what stands there. */
export function withOutputs(page: string, folder: string): string {
  return page.replace(/^```console\n([\s\S]*?)^```$/gm, (_, block: string) => {
    const commands = block.split("\n").filter((line) => line.startsWith("$ "));
    const parts = commands.map((command) => {
      const output = outputOf(command.slice(2), folder);
      return output === "" ? command : `${command}\n${output}`;
    });
    return `\`\`\`console\n${parts.join("\n")}\n\`\`\``;
  });
}

/** Pages whose examples show real output, from the project's root. */
export function pagesWithOutput(): readonly string[] {
  const docs = fs.readdirSync(path.join(root, "docs")).map((name) => `docs/${name}`);
  return ["README.md", ...docs].filter(
    (name) => name.endsWith(".md") && fs.readFileSync(path.join(root, name), "utf8").includes("```console\n"),
  );
}
