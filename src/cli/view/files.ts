import * as fs from "node:fs";
import * as path from "node:path";
import { SystemError } from "../../findings/errors.js";
import { embeddedFile, embeddedText } from "../../io/node/embedded.js";

/** A file of the application: on the disk, or in the single executable that runs. */
export interface Asset {
  readonly type: string;
  read(): Promise<Uint8Array>;
}

/** A single executable's list of the application's files; they are carried as `viewer/NAME`. */
const LIST = "viewer.json";

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
  const list = embeddedText(LIST);
  if (list !== undefined) {
    const names = JSON.parse(list) as readonly string[];
    return new Map(
      names.map((name) => [
        name,
        { type: typeOf(name), read: async () => embeddedFile(`viewer/${name}`) ?? new Uint8Array() },
      ]),
    );
  }
  const directory = viewerDirectory();
  return new Map(
    viewerFiles(directory).map((name) => {
      const file = path.join(directory, name);
      return [name, { type: typeOf(name), read: () => fs.promises.readFile(file) }];
    }),
  );
}

/** Names of a directory's files, those in directories below with slashes. */
export function viewerFiles(directory: string): string[] {
  return fs
    .readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      path.relative(directory, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"),
    );
}

const typeOf = (name: string): string => TYPES[path.extname(name)] ?? "application/octet-stream";
