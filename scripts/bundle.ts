import * as fs from "node:fs";
import * as path from "node:path";
import { build } from "esbuild";

/**
 * `npm run build`, second part: the programs, with the modules they need joined into a few files.
 * Starting one then opens a tenth of the files. The library stays as it was compiled, module by module.
 */
const root = path.resolve(import.meta.dirname, "..");
const folder = path.join(root, "dist/cli");
const PROGRAMS = [
  "main",
  "compat/verify-stream-v2",
  "compat/convert-legacy-stream",
  "compat/dump-guest-memory",
] as const;
/** Packages that bring WebAssembly: loaded when needed, as they are. */
const CODECS = ["@bokuweb/zstd-wasm", "fflate", "fzstd", "xz-decompress", "zstddec"];
const LICENSES = "LICENSES.txt";

interface Manifest {
  readonly version: string;
  readonly license: string;
}

/** Packages by the files of theirs that were joined in, with their licences' texts. */
function licenses(inputs: readonly string[]): string {
  const names = inputs.flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []);
  return [...new Set(names)]
    .sort()
    .map((name) => {
      const home = path.join(root, "node_modules", name);
      const manifest = JSON.parse(fs.readFileSync(path.join(home, "package.json"), "utf8")) as Manifest;
      const file = fs.readdirSync(home).find((entry) => /^licen[cs]e/i.test(entry));
      const text = file === undefined ? [] : ["", fs.readFileSync(path.join(home, file), "utf8").trim()];
      return [`${name} ${manifest.version}, ${manifest.license}`, ...text, ""].join("\n");
    })
    .join(`\n${"-".repeat(72)}\n\n`);
}

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    ...Object.fromEntries(PROGRAMS.map((name) => [name, `src/cli/${name}.ts`])),
    // beside the parts, where the module that starts it looks
    "page-worker": "src/io/node/page-worker.ts",
  },
  outdir: folder,
  chunkNames: "part-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20.19",
  external: CODECS,
  // packages of the older kind ask for Node's modules by require()
  banner: {
    js: 'import { createRequire as requireFrom } from "node:module";\nconst require = requireFrom(import.meta.url);',
  },
  metafile: true,
  logLevel: "warning",
});

fs.writeFileSync(path.join(folder, LICENSES), licenses(Object.keys(metafile.inputs)));
const written = new Set([LICENSES, ...Object.keys(metafile.outputs)].map((file) => path.basename(file)));
for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
  if (entry.isFile() && !written.has(entry.name)) fs.rmSync(path.join(entry.parentPath, entry.name));
}
for (const name of PROGRAMS) fs.chmodSync(path.join(folder, `${name}.js`), 0o755);
