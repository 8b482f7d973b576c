import * as fs from "node:fs";
import * as path from "node:path";
import { SystemError } from "../../findings/errors.js";

/** A file of the application. */
export interface Asset {
  readonly file: string;
  readonly type: string;
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".gz": "application/gzip",
};

/** Where the built viewer is: beside the built programs, whether those or their sources run. */
function viewerDirectory(): string {
  const candidates = ["../viewer", "../../viewer", "../../../dist/viewer"];
  const directories = candidates.map((one) => path.resolve(import.meta.dirname, one));
  const found = directories.find(
    (directory) => fs.existsSync(path.join(directory, "index.html")) && !directory.includes("/src/"),
  );
  if (found !== undefined) return found;
  throw new SystemError("os/ENOENT", "the viewer is not built: 'npm run build' builds it", {
    source: "viewer",
  });
}

/** The application's files by their paths in addresses: nothing else of the disk can be named. */
export function viewerAssets(): ReadonlyMap<string, Asset> {
  const directory = viewerDirectory();
  const entries = fs.readdirSync(directory, { recursive: true, withFileTypes: true });
  return new Map(
    entries
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const file = path.join(entry.parentPath, entry.name);
        const name = path.relative(directory, file).split(path.sep).join("/");
        return [name, { file, type: TYPES[path.extname(name)] ?? "application/octet-stream" }];
      }),
  );
}
