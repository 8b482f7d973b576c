import * as fs from "node:fs";
import * as path from "node:path";
import { build } from "esbuild";

/**
 * Joins the worker and all it imports into one plain file: a loader that translates TypeScript is asked at each dynamic
 * import, by messages to a thread of its own, which took half of a worker's time. Returns the file, and what removes it.
 */
export async function bundleWorker(): Promise<{ readonly file: string; readonly remove: () => void }> {
  // packages are found from here
  const cache = path.resolve(import.meta.dirname, "../node_modules/.cache");
  fs.mkdirSync(cache, { recursive: true });
  const folder = fs.mkdtempSync(path.join(cache, "fuzz-"));
  const file = path.join(folder, "worker.mjs");
  await build({
    entryPoints: [path.join(import.meta.dirname, "worker.ts")],
    outfile: file,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    packages: "external",
    // frames of errors name the sources
    sourcemap: true,
    logLevel: "warning",
    plugins: [
      {
        name: "places of files",
        setup: (bundle) =>
          bundle.onLoad({ filter: /\.ts$/ }, ({ path: source }) => {
            const folderOf = JSON.stringify(path.dirname(source));
            const contents = fs.readFileSync(source, "utf8").replaceAll("import.meta.dirname", folderOf);
            return { loader: "ts", contents };
          }),
      },
    ],
  });
  return { file, remove: () => fs.rmSync(folder, { recursive: true, force: true }) };
}
