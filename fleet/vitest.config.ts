import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ["test/**/*.test.ts"],
    // programs of a loaded machine: a test that fails is tried once more, and CI prints both
    retry: process.env["CI"] === undefined ? 0 : 1,
    testTimeout: 300_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    reporters: ["default", "../scripts/summary-reporter.ts"],
  },
});
