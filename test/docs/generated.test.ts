import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { GENERATED } from "../../scripts/generate-docs.js";
import { projectRoot } from "../shared.js";

describe("pages made from the code", () => {
  it.each(Object.entries(GENERATED))("docs/%s is up to date (npm run docs)", async (name, make) => {
    expect(fs.readFileSync(path.join(projectRoot, "docs", name), "utf8")).toBe(await make());
  });
});

describe("all pages", () => {
  const folder = path.join(projectRoot, "docs");
  const pages = [
    ...fs
      .readdirSync(folder)
      .filter((name) => name.endsWith(".md"))
      .map((name) => path.join(folder, name)),
    path.join(projectRoot, "README.md"),
  ];

  it.each(pages)("links of %s lead somewhere", (page) => {
    const links = Array.from(
      fs.readFileSync(page, "utf8").matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g),
      ([, to = ""]) => to,
    );
    expect(links.filter((to) => !fs.existsSync(path.resolve(path.dirname(page), to)))).toEqual([]);
  });
});
