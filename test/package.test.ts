import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { VERSION } from "../src/version.js";
import { projectRoot, runCli, scratch, skipUnless } from "./shared.js";

const manifest = JSON.parse(fs.readFileSync(path.join(projectRoot, "package.json"), "utf8")) as {
  version: string;
  bin: Record<string, string>;
  exports: Record<string, { types: string; default: string }>;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};

describe("package", () => {
  it("tells one version", () => {
    expect(VERSION).toBe(manifest.version);
  });

  it("pins what it depends on", () => {
    const loose = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies }).filter(
      ([, v]) => !/^\d/.test(v),
    );
    expect(loose).toEqual([]);
  });

  it("has a source for every program and entry point", () => {
    const outputs = [
      ...Object.values(manifest.bin),
      ...Object.values(manifest.exports).map((entry) => entry.default),
    ];
    const missing = outputs
      .map((file) => file.replace(/^(\.\/)?dist\//, "src/").replace(/\.js$/, ".ts"))
      .filter((file) => !fs.existsSync(path.join(projectRoot, file)));
    expect(missing).toEqual([]);
  });

  it("no test fixture is large, all together under 8 MB", () => {
    const files = fs.readdirSync(path.join(projectRoot, "test/fixtures"), {
      recursive: true,
      withFileTypes: true,
    });
    const bytes = files
      .filter((entry) => entry.isFile())
      .map((entry) => fs.statSync(path.join(entry.parentPath, entry.name)).size)
      .reduce((a, b) => a + b, 0);
    expect(bytes).toBeLessThan(8 << 20);
  });

  const built = fs.existsSync(path.join(projectRoot, "dist/cli/main.js"));
  it.skipIf(skipUnless(built, "dist/ (npm run build)"))("its built program has every codec", () => {
    const { folder, cleanup } = scratch();
    const saved = path.join(folder, "web01.legacy");
    const sample = path.join(projectRoot, "test/fixtures/demo/web01.legacy.gz");
    fs.writeFileSync(saved, zlib.gunzipSync(fs.readFileSync(sample)));
    const extract = (...args: string[]): void => {
      expect(runCli(["extract", "-q", ...args])).toMatchObject({ status: 0, stderr: "" });
    };
    extract(saved, `${saved}.raw`, "--to", "raw");
    for (const compress of ["zlib", "lzo", "snappy", "zstd"]) {
      const packed = `${saved}.${compress}`;
      extract(saved, packed, "--to", "kdump", "--compress", compress);
      extract(packed, `${packed}.raw`, "--to", "raw");
      const same = fs.readFileSync(`${packed}.raw`).equals(fs.readFileSync(`${saved}.raw`));
      expect(same, compress).toBe(true);
    }
    cleanup();
  });
});
