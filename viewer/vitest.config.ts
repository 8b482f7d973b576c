import * as path from "node:path";
import { defineConfig } from "vitest/config";

/** Tests in a real browser: `npm run test:viewer`. One after another: each has the machine for itself. */
export default defineConfig({
  test: {
    root: path.resolve(import.meta.dirname, ".."),
    include: ["viewer/test/**/*.test.ts"],
    // programs of a loaded machine: a test that fails is tried once more, and CI prints both
    retry: process.env["CI"] === undefined ? 0 : 1,
    // a loaded machine is slow, not wrong
    testTimeout: 400_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    reporters: ["default", "./scripts/summary-reporter.ts"],
  },
});
