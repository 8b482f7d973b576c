import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { build } from "esbuild";

/**
 * `npm run build`, second part: the programs, with the modules they need joined into a few files.
 * Starting one then opens a tenth of the files. The library stays as it was compiled, module by module.
 */
const root = path.resolve(import.meta.dirname, "..");
const folder = path.join(root, "dist/cli");
const LICENSES = "LICENSES.txt";

interface Manifest {
  readonly version: string;
  readonly license: string;
}

const manifestOf = (home: string): unknown =>
  JSON.parse(fs.readFileSync(path.join(home, "package.json"), "utf8"));

const { bin, dependencies } = manifestOf(root) as {
  bin: Readonly<Record<string, string>>;
  dependencies: Readonly<Record<string, string>>;
};
/** Files of the programs within `dist/cli`, without `.js`: the sources' names. */
const PROGRAMS = Object.values(bin).map((file) => path.relative("dist/cli", file).replace(/\.js$/, ""));
/** Every start needs it; the other packages, codecs that bring WebAssembly, are loaded when needed, as they are. */
const JOINED = "argparse";

/** Packages by the files of theirs that were joined in, with their licences' texts. */
function licenses(inputs: readonly string[]): string {
  const names = inputs.flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []);
  return [...new Set(names)]
    .sort()
    .map((name) => {
      const home = path.join(root, "node_modules", name);
      const manifest = manifestOf(home) as Manifest;
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
  external: Object.keys(dependencies).filter((name) => name !== JOINED),
  // packages of the older kind ask for Node's modules by require()
  banner: {
    js: 'import { createRequire as requireFrom } from "node:module";\nconst require = requireFrom(import.meta.url);',
  },
  metafile: true,
  logLevel: "warning",
});

const head = spawnSync("git", ["rev-parse", "--short=12", "HEAD"], { cwd: root, encoding: "utf8" });
// outside a clone there is no commit to tell
const commit = head.status === 0 ? [["COMMIT", head.stdout] as const] : [];
for (const [name, text] of commit) fs.writeFileSync(path.join(folder, name), text);
fs.writeFileSync(path.join(folder, LICENSES), licenses(Object.keys(metafile.inputs)));
const written = new Set(
  [LICENSES, "COMMIT", ...Object.keys(metafile.outputs)].map((file) => path.basename(file)),
);
for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
  if (entry.isFile() && !written.has(entry.name)) fs.rmSync(path.join(entry.parentPath, entry.name));
}
for (const name of PROGRAMS) fs.chmodSync(path.join(folder, `${name}.js`), 0o755);
