import * as fs from "node:fs";
import type { KnipConfig } from "knip";

const { exports: publicEntries, bin } = JSON.parse(fs.readFileSync("package.json", "utf8")) as {
  exports: Readonly<Record<string, string | { default: string }>>;
  bin: Readonly<Record<string, string>>;
};

/** The source of a file that the package publishes. */
const sourceOf = (published: string): string =>
  published.replace(/^(\.\/)?dist\//, "src/").replace(/\.js$/, ".ts");

const published = [
  ...Object.values(publicEntries).map((entry) => (typeof entry === "string" ? entry : entry.default)),
  ...Object.values(bin),
].filter((file) => file.endsWith(".js"));

/** Files and exports that nothing uses: `npm run lint:unused`. */
const config: KnipConfig = {
  workspaces: {
    ".": {
      entry: [
        ...published.map(sourceOf),
        // read by the generator of schemas
        "src/cli/documents.ts",
        // bundled by its path: scripts/build-binary.ts
        "src/cli/single-executable.ts",
        // started by their paths
        "src/**/*-worker.ts",
        "viewer/src/main.tsx",
        "viewer/src/**/*worker.ts",
        "viewer/*.config.ts",
        "viewer/test/*.test.ts",
        "scripts/*.ts",
        "scripts/compare/runner.mjs",
        "scripts/*.mjs",
        "examples/*.mjs",
        "bench/*.ts",
        "fuzz/worker.ts",
        "test/**/*.test.ts",
        "test/fixtures/**/*.ts",
      ],
      project: [
        "src/**/*.ts",
        "viewer/**/*.{ts,tsx}",
        "test/**/*.ts",
        "bench/**/*.ts",
        "fuzz/**/*.ts",
        "scripts/**/*.{ts,mjs}",
      ],
    },
    fleet: {
      entry: ["src/cli/main.ts", "src/processor/*.ts", "bench/*.ts", "test/**/*.test.ts"],
      project: ["src/**/*.ts", "test/**/*.ts", "bench/**/*.ts"],
    },
  },
  // a type that only its own file names is part of what that file's functions take and give
  ignoreExportsUsedInFile: { interface: true, type: true },
  // structures are found through their modules, for documentation
  ignoreIssues: { "src/**/layout.ts": ["exports", "types"], "src/vmcore/notes.ts": ["exports"] },
  // tests call programs of the system
  exclude: ["binaries"],
};

export default config;
