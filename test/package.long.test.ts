import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { projectRoot, scratch, skipUnless } from "./shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const inGit = fs.existsSync(path.join(projectRoot, ".git"));
const TEN_MINUTES = 600_000;

function npm(cwd: string, ...words: readonly string[]): string {
  const run = spawnSync("npm", [...words], { cwd, encoding: "utf8", timeout: TEN_MINUTES });
  expect(run.status, run.stderr).toBe(0);
  return run.stdout;
}

describe.skipIf(skipUnless(inGit, "a git clone"))(
  "from a clone that was never built",
  { timeout: TEN_MINUTES },
  () => {
    const clone = path.join(folder, "clone");
    const programs = ["convert-legacy-stream", "dump-guest-memory", "guestscope", "verify-stream-v2"];
    const version = (bin: string): string =>
      execFileSync(path.join(bin, "guestscope"), ["--version"], { encoding: "utf8" });

    it("npm pack makes a package whose programs run in an empty directory", () => {
      execFileSync("git", ["clone", "-q", projectRoot, clone]);
      const packed = npm(clone, "pack", "--silent").trim().split("\n").at(-1) ?? "";
      const empty = path.join(folder, "empty");
      fs.mkdirSync(empty);
      fs.writeFileSync(path.join(empty, "package.json"), "{}");
      npm(empty, "install", "--silent", path.join(clone, packed));
      const bin = path.join(empty, "node_modules/.bin");
      expect(
        fs
          .readdirSync(bin)
          .filter((name) => programs.includes(name))
          .sort(),
      ).toEqual(programs);
      expect(version(bin)).toMatch(/^guestscope /);
      const shipped = fs.readdirSync(path.join(empty, "node_modules/guestscope"));
      expect(shipped).toEqual(expect.arrayContaining(["dist", "docs", "schema", "README.md", "LICENSE"]));
    });

    it("npm install -g . links programs that run", () => {
      fs.rmSync(path.join(clone, "dist"), { recursive: true, force: true });
      const prefix = path.join(folder, "prefix");
      npm(clone, "install", "--silent", "-g", "--prefix", prefix, ".");
      expect(version(path.join(prefix, "bin"))).toMatch(/^guestscope /);
    });

    it("an install from git has programs that run", () => {
      const other = path.join(folder, "other");
      fs.mkdirSync(other);
      fs.writeFileSync(path.join(other, "package.json"), "{}");
      npm(other, "install", "--silent", `git+file://${clone}`);
      expect(version(path.join(other, "node_modules/.bin"))).toMatch(/^guestscope /);
    });
  },
);
