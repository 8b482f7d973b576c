import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import type { InputOptions, OutputOptions } from "rolldown";

/** What the bundles of the programs have in common: those of the package, the single executable, the viewer. */

export const root: string = path.resolve(import.meta.dirname, "..");

/** How modules are found and joined. */
export const INPUT = {
  cwd: root,
  platform: "node",
  transform: { target: "node20.19" },
  // a module that is met at a start is joined to it, also where others load it later
  checks: { ineffectiveDynamicImport: false },
} satisfies InputOptions;

/** Less to read at a start; names stay, so that a stack can be read. */
export const MINIFY = {
  compress: true,
  mangle: false,
  codegen: { removeWhitespace: true },
} satisfies OutputOptions["minify"];

export interface Manifest {
  readonly version: string;
  readonly license: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** What a package's package.json says. @param home its folder */
export const manifestOf = (home: string): Manifest =>
  JSON.parse(fs.readFileSync(path.join(home, "package.json"), "utf8")) as Manifest;

/** The folder of a package that is installed here. */
export const homeOf = (name: string): string => path.join(root, "node_modules", name);

/** The text of a package's licence; undefined where it brings none. @param home its folder */
export function licenseOf(home: string): string | undefined {
  const file = fs.readdirSync(home).find((entry) => /^licen[cs]e/i.test(entry));
  return file === undefined ? undefined : fs.readFileSync(path.join(home, file), "utf8").trim();
}

/** Licences one after another. */
export const joinLicenses = (texts: readonly string[]): string => texts.join(`\n${"-".repeat(72)}\n\n`);

/** The line of a COMMIT file; undefined outside of a clone, where there is no commit to name. */
export function commitLine(): string | undefined {
  const head = spawnSync("git", ["rev-parse", "--short=12", "HEAD"], { cwd: root, encoding: "utf8" });
  return head.status === 0 ? head.stdout : undefined;
}
