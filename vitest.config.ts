import * as os from "node:os";
import { defineConfig } from "vitest/config";

/** What takes minutes (browsers, machines of QEMU, packages built from nothing) runs in CI: `npm run test:all`. */
const LONG = [
  "test/browser/**",
  "test/qemu/**/machines.test.ts",
  "test/qemu/core/real-cores.test.ts",
  "test/**/*.long.test.ts",
];

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: process.env["GUESTSCOPE_TESTS"] === "all" ? [] : LONG,
    // most tests wait for programs that they start: the one processor that vitest leaves free by default would be idle
    maxWorkers: os.availableParallelism(),
    // programs of a loaded machine: a test that fails is tried once more, and CI prints both
    retry: process.env["CI"] === undefined ? 0 : 1,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: ["default", "./scripts/summary-reporter.ts"],
    coverage: { include: ["src/**"], reporter: ["text-summary"] },
  },
});
